"""``ReleaseTrainer``: transformers' Trainer with our order of samples, a guard against losses that are no numbers, and whole states.

M micro-batches of a step on this rank, B rows in each.
"""

from collections.abc import Sequence, Sized
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from captionlake.errors import CaptionlakeError
from captionlake.models.training.order import RunOrder

_NAMED = 20  # rows of a batch that a message names


class ReleaseTrainer(Trainer):  # type: ignore[misc]
    """Batches say with ``positions`` (B,) which rows of the release they hold. ``vision``: parameters that learn at ``vision_lr``."""

    def __init__(
        self, *, order: RunOrder, label: str, vision: Sequence[Tensor], vision_lr: float | None, **options: Any
    ) -> None:
        self._order, self._label = order, label
        self._vision, self._vision_lr = vision, vision_lr
        self._step: list[tuple[Tensor, Tensor]] = []  # M times positions (B,) and loss ()
        super().__init__(**options)

    def _get_train_sampler(self, train_dataset: Sized | None = None) -> RunOrder:
        return self._order

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if self._vision_lr is not None:
            vision = {id(parameter) for parameter in self._vision}
            for group in list(optimizer.param_groups):
                own = [parameter for parameter in group["params"] if id(parameter) in vision]
                if own:
                    group["params"] = [parameter for parameter in group["params"] if id(parameter) not in vision]
                    optimizer.add_param_group({**group, "params": own, "lr": self._vision_lr})
        return optimizer

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        positions = inputs.pop("positions")
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self._step.append((positions, loss))
        return loss

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        """The weights of a state under the names that they have in memory. The Trainer loads by these, leaving out what it does not
        find, and would save a LLaVA's under the names of its published form."""
        if self.args.should_save:
            self.model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Every weight is there: one that is missing would stay as it was before training."""
        wrong = {*load_result.missing_keys, *load_result.unexpected_keys} - self.model.all_tied_weights_keys.keys()
        if wrong:
            raise CaptionlakeError(
                f"the state in {self.args.output_dir} has other weights than the model ({len(wrong)}, one is {min(wrong)}): "
                "begin anew with --restart"
            )

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """Once a step, before its gradients are used: the one moment at which this class waits for the device."""
        norm = super()._get_grad_norm(model, grad_norm)
        step, self._step = self._step, []
        losses = torch.stack([loss for _, loss in step])  # M
        if not bool(torch.isfinite(losses.sum() + norm)):
            self._refuse(step, float(norm))
        return norm

    def _refuse(self, step: list[tuple[Tensor, Tensor]], norm: float) -> None:
        """The rows of the micro-batches whose loss is no number, on whichever rank; of all where it is the gradient alone."""
        bad = [positions.tolist() for positions, loss in step if not bool(torch.isfinite(loss))]
        every = [positions.tolist() for positions, _ in step]
        told: list[Any] = [(bad, every)]
        if self.args.world_size > 1:
            told = [None] * self.args.world_size
            torch.distributed.all_gather_object(told, (bad, every))
        found = [rows for rank, _ in told for rows in rank]
        what = "the loss" if found else f"the gradient (norm {norm})"
        rows = sorted({row for batch in found or [rows for _, rank in told for rows in rank] for row in batch})
        named = ", ".join(map(str, rows[:_NAMED])) + (", …" if len(rows) > _NAMED else "")
        raise CaptionlakeError(
            f"{what} of step {self.state.global_step + 1} is no number, with rows {named} of {self._label} (their `position`): "
            "look at them, or lower `lr`; run again to go on from the last state"
        )
