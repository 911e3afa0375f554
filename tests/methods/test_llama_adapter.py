"""LLaMA-Adapter's blocks, beyond the contract."""

import pytest

from autolora_bench.config.prompts import LlamaAdapterConfig
from autolora_bench.errors import UserError
from autolora_bench.methods.llama_adapter import adapted_blocks


@pytest.mark.parametrize(("drop", "adapted"), [(0.0, 8), (0.25, 6), (0.9, 1)])
def test_a_share_of_the_blocks_gets_no_prompt(drop: float, adapted: int) -> None:
    assert adapted_blocks(LlamaAdapterConfig(drop=drop), 8) == adapted


def test_some_block_gets_one() -> None:
    with pytest.raises(UserError, match=r"method\.drop=0\.95 leaves none of the 8 blocks a prompt"):
        adapted_blocks(LlamaAdapterConfig(drop=0.95), 8)
