"""mmfree's models for Hugging Face's libraries (extra ``hf``).

Importing this package registers its config and model with the Auto classes. Only
``mmfree.hf.lm_eval`` is not imported with it, because it loads lm-eval-harness.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from mmfree.hf.config import MatMulFreeConfig
from mmfree.hf.convert import to_checkpoint, to_hugging_face
from mmfree.hf.model import MatMulFreeForCausalLM

__all__ = ["MatMulFreeConfig", "MatMulFreeForCausalLM", "to_checkpoint", "to_hugging_face"]

AutoConfig.register(MatMulFreeConfig.model_type, MatMulFreeConfig, exist_ok=True)
AutoModelForCausalLM.register(MatMulFreeConfig, MatMulFreeForCausalLM, exist_ok=True)
AutoTokenizer.register(
    MatMulFreeConfig, fast_tokenizer_class=PreTrainedTokenizerFast, exist_ok=True
)
# Registering does not: by this table ``Trainer`` knows which models predict the next token, and so
# shifts labels when it smooths them.
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[MatMulFreeConfig.model_type] = MatMulFreeForCausalLM.__name__
