"""``Loading``: the model that makes vectors, for whichever process makes them."""

from dataclasses import replace
from typing import Any

from captionlake.curation.encoder import Encoder
from captionlake.curation.encoding import Encoding
from captionlake.curation.model import EmbedConfig, load_model
from captionlake.errors import CaptionlakeError


class Loading:
    """Gives the ``model`` at hand where it is called in this process. Pickled, it goes without, and loads the same one anew.

    There, weights of another hash are refused, and the precision is the one that was made out here.
    """

    def __init__(self, config: EmbedConfig, model: Encoder, *, threads: int | None, expected: int) -> None:
        self._config = replace(config, precision=model.placement.precision)
        self._model: Encoder | None = model
        self._model_id, self._threads, self._expected = model.model_id, threads, expected

    def __call__(self) -> Encoding:
        """The model with its threads and processes."""
        model = self._model or self._loaded()
        return Encoding(model, batch_size=self._config.batch_size, threads=self._threads, expected=self._expected)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None}

    def _loaded(self) -> Encoder:
        model = load_model(self._config)
        if model.model_id != self._model_id:
            raise CaptionlakeError(
                f"a node of the cluster has the model {model.model_id}, and not {self._model_id}: "
                f"give all nodes the same {self._config.pretrained} and the same versions of captionlake and its packages"
            )
        return model
