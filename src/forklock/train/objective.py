"""The model as training calls it: tensors of a forward pass in, its share of the step's loss out."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from forklock.config import LoraConfig, LossKernel, Recipe
from forklock.packages import packages_of
from forklock.train.attention import SAMPLES_APART
from forklock.train.batches import ModelInput
from forklock.train.errors import TrainingError
from forklock.train.loss import cross_entropy
from forklock.weights import read_weights

_HEAD_TOLERANCE = 1e-3
"""Of the largest logit; four roundings of the weights' type where that is more."""
_ROUNDINGS = 16
"""By which a sample's hidden states may change with its neighbour's tokens: experts are given other numbers of them."""


class Objective(nn.Module):
    """Wraps a causal model (with or without adapters); what DDP and autocast are put around.

    The decoder is called without a mask and with `use_cache=False`: where samples end, attention is told apart from it.
    """

    def __init__(self, model: nn.Module, causal: PreTrainedModel, loss_kernel: LossKernel = "chunked") -> None:
        super().__init__()
        self.model = model
        self.loss_kernel = loss_kernel
        self._causal = (causal,)  # in a tuple: the same module, not to be registered twice
        causal.set_attn_implementation(SAMPLES_APART)

    @property
    def causal(self) -> Any:
        """The causal model itself, also where adapters are around it."""
        return self._causal[0]

    def hidden_states(self, one: ModelInput) -> torch.Tensor:
        """Of the predicting positions, T x H."""
        hidden_BLH = self.causal.get_decoder()(
            input_ids=one.input_ids_BL,
            position_ids=one.position_ids_BL,
            use_cache=False,
            sample_lengths=one.sample_lengths,
        ).last_hidden_state
        hidden_TH: torch.Tensor = hidden_BLH.flatten(0, 1).index_select(0, one.predicting_T)
        return hidden_TH

    def head(self) -> torch.Tensor:
        head_VH: torch.Tensor = self.causal.get_output_embeddings().weight
        return head_VH

    def forward(self, one: ModelInput, scale: float) -> torch.Tensor:
        return cross_entropy(self.hidden_states(one), self.head(), one.targets, scale, self.loss_kernel)

    def stop_mass(self, one: ModelInput, ends_B: torch.Tensor, stop_token_ids_S: torch.Tensor) -> torch.Tensor:
        """The probability of any stop token at the chosen ones of the predicting positions."""
        head_VH = self.head()
        last_BH = self.hidden_states(one)[ends_B]
        logits_BV = (last_BH @ head_VH.to(last_BH.dtype).T).float()
        mass_B: torch.Tensor = torch.softmax(logits_BV, dim=-1)[:, stop_token_ids_S].sum(dim=-1)
        return mass_B


def load_objective(recipe: Recipe, device: torch.device | None = None) -> tuple[Objective, torch.dtype]:
    """The recipe's model in float32 (adapters around it if it says so), and the type its weights are saved in.

    Under LoRA the frozen weights stay in bfloat16 where training computes in it. Weights are read straight to a GPU.
    """
    causal: Any = read_weights(recipe.model, device if device is not None and device.type == "cuda" else None)
    saved_type = causal.dtype
    _check_head(causal, recipe.model.path)
    objective = _made_ready(causal, recipe, saved_type)
    if recipe.train.layout == "packed":
        _check_apart(objective, recipe.model.path)
    return objective, saved_type


def empty_objective(recipe: Recipe, saved_type: torch.dtype) -> Objective:
    """The same without weights: parameters on the meta device, buffers as they are computed from the config."""
    config = AutoConfig.from_pretrained(recipe.model.path, revision=recipe.model.revision or "main")
    with init_empty_weights(include_buffers=False):
        causal: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=saved_type, attn_implementation="sdpa"
        )
    causal.tie_weights()  # not inside: there every parameter that is set becomes a new one
    return _made_ready(causal, recipe, saved_type)


def _made_ready(causal: Any, recipe: Recipe, saved_type: torch.dtype) -> Objective:
    train = recipe.train
    if train.lora is None or train.dtype == "float32" or saved_type == torch.float16:
        causal.float()
    causal.requires_grad_(train.lora is None)
    causal.train()
    if train.gradient_checkpointing:
        causal.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model = causal if train.lora is None else _with_adapters(causal, train.lora, recipe.seed)
    return Objective(model, causal, train.loss_kernel)


def _with_adapters(causal: Any, lora: LoraConfig, seed: int) -> Any:
    with packages_of("train"):
        import peft
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # any number scales the adapter
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    try:
        with warnings.catch_warnings():  # peft looks for experts' patterns among modules, where they never are
            warnings.filterwarnings("ignore", message=r"The following \w+_pattern keys did not match")
            adapted = peft.get_peft_model(causal, config)
    except ValueError as error:
        raise TrainingError(f"train.lora: {error}") from error
    if hasattr(causal.get_output_embeddings(), "base_layer"):
        raise TrainingError(
            "train.lora.target_modules: names the model's head, whose weights the loss reads without their adapter; "
            "leave it out"
        )
    return adapted


def _check_head(causal: Any, path: str) -> None:
    """The loss takes logits as head weights times hidden states; a model that does more with them is refused."""
    head = causal.get_output_embeddings()
    num_tokens = min(4, causal.config.get_text_config().vocab_size)
    token_ids_BL = torch.arange(num_tokens, device=head.weight.device).unsqueeze(0)
    with torch.no_grad():
        logits = causal(token_ids_BL, use_cache=False).logits.float()
        hidden_BLH = causal.get_decoder()(token_ids_BL, use_cache=False).last_hidden_state
        plain = (hidden_BLH @ head.weight.T).float()
    allowed = max(_HEAD_TOLERANCE, 4 * torch.finfo(head.weight.dtype).eps) * plain.abs().max()
    if getattr(head, "bias", None) is not None or (logits - plain).abs().max() > allowed:
        raise TrainingError(
            f"{path}: its logits are more than head weights times hidden states (a bias, a scale or a cap), which "
            "the training loss does not compute"
        )


def _check_apart(objective: Objective, path: str) -> None:
    """A model with more between positions than attention (convolutions, states) sees across samples of a row."""
    device = objective.head().device
    position_ids_BL = torch.arange(3, device=device).repeat(2).unsqueeze(0)
    objective.eval()
    with torch.no_grad():
        first_LH, other_LH = (
            objective.causal.get_decoder()(
                torch.tensor([[*before, 0, 1, 2]], device=device),
                position_ids=position_ids_BL,
                use_cache=False,
                sample_lengths=(3, 3),
            ).last_hidden_state[0, 3:]
            for before in ((0, 1, 2), (3, 2, 1))
        )
    objective.train()
    if (first_LH - other_LH).abs().max() > _ROUNDINGS * torch.finfo(first_LH.dtype).eps * first_LH.abs().max():
        raise TrainingError(
            f'train.layout = "packed": samples in one row of {path} see each other by more than attention; '
            'use "bucketed"'
        )
