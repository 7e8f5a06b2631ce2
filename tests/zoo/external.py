"""Models of other libraries, from tiny configurations with random weights; left out where not installed."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from zoo._entry import Built, entry, linear, permutation, scaling


class Logits(nn.Module):
    """The logits (or last hidden state) of a Hugging Face model, without the cache."""

    def __init__(self, model: nn.Module, field: str = "logits", **options: bool) -> None:
        super().__init__()
        self.model, self.field, self.options = model, field, options

    def forward(self, *args: Tensor) -> Tensor:
        names = ("pixel_values",) if args[0].is_floating_point() else ("input_ids", "decoder_input_ids")
        return self.model(**dict(zip(names, args, strict=False)), **self.options)[self.field]


def load(package: str) -> Any:
    """The package, or ModuleNotFoundError; a broken companion (torchvision of another build) counts as absent."""
    try:
        if find_spec("torchvision") is not None:
            import_module("torchvision")
        return import_module(package)
    except (ImportError, RuntimeError) as error:
        raise ModuleNotFoundError(f"zoo: {package} does not import here; {error}") from error


HF = {"requires": "transformers", "plateaus": False}
DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


@entry(
    None,
    [
        linear(
            4,
            "model.transformer.h.0.attn.c_attn.weight",
            "model.transformer.h.0.attn.c_attn.bias",
            batch=(2,),
        ),
        linear(
            4,
            "model.transformer.h.0.attn.c_attn.weight",
            "model.transformer.h.0.attn.c_attn.bias",
            "model.transformer.h.0.attn.c_proj.weight",
            batch=(2,),
        ),
        permutation(12, "model.transformer.h.0.mlp.c_fc.weight", "model.transformer.h.0.mlp.c_proj.weight"),
        permutation(
            2, "model.transformer.h.0.attn.c_attn.weight", "model.transformer.h.0.attn.c_proj.weight"
        ),
        permutation(8, "model.transformer.wte.weight", "model.transformer.wpe.weight"),
    ],
    vocabulary=11,
    **HF,
)
def hf_gpt2() -> Built:
    hf = load("transformers")
    config = hf.GPT2Config(
        vocab_size=11,
        bos_token_id=0,
        eos_token_id=0,
        n_positions=6,
        n_embd=8,
        n_layer=2,
        n_head=2,
        n_inner=12,
        **DROPOUT,
    )
    return Logits(hf.GPT2LMHeadModel(config), use_cache=False), torch.randint(11, (2, 6))


def llama_names(layer: int, *names: str) -> tuple[str, ...]:
    parts = {
        "q": "self_attn.q_proj",
        "k": "self_attn.k_proj",
        "v": "self_attn.v_proj",
        "o": "self_attn.o_proj",
    }
    parts |= {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"}
    return tuple(f"model.model.layers.{layer}.{parts[n]}.weight" for n in names)


@entry(
    None,
    [
        linear(4, *llama_names(0, "v", "o"), batch=(2,)),
        scaling(10, *llama_names(0, "up", "down")),
        permutation(10, *llama_names(0, "gate", "up", "down")),
        permutation(2, *llama_names(0, "q", "k", "v", "o")),
    ],
    vocabulary=11,
    **HF,
)
def hf_llama() -> Built:
    hf = load("transformers")
    config = hf.LlamaConfig(
        vocab_size=11,
        hidden_size=16,
        intermediate_size=10,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
    )
    return Logits(hf.LlamaForCausalLM(config), use_cache=False), torch.randint(11, (2, 5))


@entry(
    None,
    [
        permutation(
            10,
            "model.encoder.layer.0.intermediate.dense.weight",
            "model.encoder.layer.0.intermediate.dense.bias",
            "model.encoder.layer.0.output.dense.weight",
        ),
        linear(
            4,
            "model.encoder.layer.0.attention.self.query.weight",
            "model.encoder.layer.0.attention.self.key.weight",
            batch=(2,),
        ),
    ],
    vocabulary=11,
    **HF,
)
def hf_bert() -> Built:
    hf = load("transformers")
    config = hf.BertConfig(
        vocab_size=11,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=10,
        max_position_embeddings=6,
        type_vocab_size=2,
    )
    model = hf.BertModel(config, add_pooling_layer=False)
    return Logits(model, "last_hidden_state"), torch.randint(11, (2, 6))


@entry(
    None,
    [
        permutation(
            10,
            "model.encoder.block.0.layer.1.DenseReluDense.wi.weight",
            "model.encoder.block.0.layer.1.DenseReluDense.wo.weight",
        ),
        scaling(
            10,
            "model.encoder.block.0.layer.1.DenseReluDense.wi.weight",
            "model.encoder.block.0.layer.1.DenseReluDense.wo.weight",
        ),
        linear(
            4,
            "model.encoder.block.0.layer.0.SelfAttention.v.weight",
            "model.encoder.block.0.layer.0.SelfAttention.o.weight",
            batch=(2,),
        ),
    ],
    vocabulary=11,
    **HF,
)
def hf_t5() -> Built:
    hf = load("transformers")
    config = hf.T5Config(
        vocab_size=11,
        d_model=8,
        d_kv=4,
        d_ff=10,
        num_layers=1,
        num_decoder_layers=1,
        num_heads=2,
        relative_attention_num_buckets=4,
        relative_attention_max_distance=8,
    )
    model = Logits(hf.T5ForConditionalGeneration(config), use_cache=False)
    return model, (torch.randint(11, (2, 5)), torch.randint(11, (2, 4)))


@entry(
    None,
    [
        permutation(8, "model.vit.embeddings.patch_embeddings.projection.weight", "model.classifier.weight"),
    ],
    **HF,
)
def hf_vit() -> Built:
    hf = load("transformers")
    config = hf.ViTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=10,
        image_size=8,
        patch_size=4,
        num_channels=1,
        num_labels=3,
    )
    return Logits(hf.ViTForImageClassification(config)), torch.randn(2, 1, 8, 8)


@entry(None, [], requires="timm", plateaus=False)
def timm_resnet() -> Built:
    timm = load("timm")
    model = timm.create_model("resnet10t", num_classes=4, in_chans=1)
    return model, torch.randn(2, 1, 32, 32)


@entry(None, [], requires="timm", plateaus=False)
def timm_convnext() -> Built:
    timm = load("timm")
    model = timm.create_model(
        "convnext_atto", num_classes=4, in_chans=1, depths=(1, 1, 1, 1), dims=(4, 8, 8, 12)
    )
    return model, torch.randn(2, 1, 32, 32)
