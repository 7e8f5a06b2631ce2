"""Models of other libraries, from tiny configurations with random weights; left out where not installed."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from zoo._entry import Built, entry, linear, orthogonal, permutation, scaling


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


HF = {"requires": "transformers"}
DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


@entry(
    {
        "GL(4) of each head, QK and VO, two layers": 2 * 4 * 16,
        "key biases, value biases into output biases": 2 * (8 + 8),
        "norm weights and biases into their readers": 2 * 4 * 8,
        "annihilated directions of c_attn and c_fc": 2 * (3 * 8 + 12),
        "uniform shift of the stream by the four writers, weights and biases": 2 * (8 + 1 + 12 + 1),
        "and by the positions": 6,
    },
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
    {
        "C* of each kv head and frequency": 2 * 2 * 2 * 2,
        "GL(4) of each kv head, VO": 2 * 2 * 16,
        "R+ of each SwiGLU unit": 2 * 10,
        "norm weights against their readers": 5 * 8,
        "O of the stream through every norm": 28,
    },
    [
        linear(4, *llama_names(0, "v", "o"), batch=(2,)),
        scaling(10, *llama_names(0, "up", "down")),
        permutation(10, *llama_names(0, "gate", "up", "down")),
        permutation(2, *llama_names(0, "q", "k", "v", "o")),
    ],
    vocabulary=11,
    approximate={"R+ of the whole stream": 1},
    **HF,
)
def hf_llama() -> Built:
    hf = load("transformers")
    config = hf.LlamaConfig(
        vocab_size=11,
        hidden_size=8,
        head_dim=4,
        intermediate_size=10,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=0,
    )
    return Logits(hf.LlamaForCausalLM(config), use_cache=False), torch.randint(11, (2, 5))


@entry(
    {
        "GL(4) of each head, QK and VO": 2 * 4 * 16,
        "key biases, value biases into output biases": 2 * (8 + 8),
        "uniform shift into both norms of each layer": 2 * (8 + 1 + 10 + 1),
        "bias of the attention norm into intermediate and output biases": 2 * 8,
        "annihilated direction of the intermediate layers": 2 * 10,
        "bias of the embedding norm and of layer 0 into the next q, k, v and output biases": 2 * 8,
        "annihilated directions of q, k, v": 2 * 3 * 8,
        "uniform shift of each token, position, type": 11 + 6 + 2,
        "tokens against positions against the type, less their uniform parts": 2 * 8 - 2,
    },
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
    beyond={"the row of the second token type, never asked for, beyond its uniform shift": 7},
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
        pad_token_id=None,
        layer_norm_eps=1e-5,  # the default, 1e-12, is rounding: scalings into the norms look exact
    )
    model = hf.BertModel(config, add_pooling_layer=False)
    return Logits(model, "last_hidden_state"), torch.randint(11, (2, 6))


@entry(
    {
        "GL(4) of each head, QK and VO, three attentions": 3 * 4 * 16,
        "uniform shift of each head's position scores": 2 * 2,
        "R+ of each ReLU unit": 2 * 10,
        "norm weights against their readers; not the decoder's last, its reader is tied": 6 * 8,
    },
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
    beyond={"one bucket of each position table is out of reach for short inputs": 2 * 2},
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
    {
        "GL(4) of each head, QK and VO": 4 * 16,
        "key bias, value bias into output bias": 8 + 8,
        "three norms' weights and biases into their readers": 3 * (8 + 8),
        "annihilated directions of q, k, v, fc1 and the classifier": 3 * 8 + 10 + 3,
        "uniform shift of the stream by the output and fc2, weights and biases": 8 + 1 + 10 + 1,
        "by the patch kernels and bias, the class token and five positions": 16 + 1 + 1 + 5,
        "class token, patch bias against positions, less their uniform parts": 8 + 8 - 2,
        "O of the hyperplane: 7 * 6 / 2": 21,
    },
    [
        orthogonal(8, "model.vit.embeddings.patch_embeddings.projection.weight", "model.classifier.weight"),
    ],
    beyond={"the query of the class token is a constant: only its products with the keys are seen": 95},
    approximate={"R+ of the whole stream": 1},
    **HF,
)
def hf_vit() -> Built:
    hf = load("transformers")
    config = hf.ViTConfig(
        layer_norm_eps=1e-5,
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
