"""The facts of `rushlight info`."""

import platform

import pytest

from rushlight.utils.collect_env import features_from_kernel, get_env_info, get_pretty_env_info, host_cpu


def test_the_text_holds_every_fact() -> None:
    env, text = get_env_info(), get_pretty_env_info()
    for value in (env.rushlight, env.python, env.cpu, env.blas, *env.cpu_features, *env.devices):
        assert value in text
    assert env.libraries["numpy"] is not None
    assert 1 <= env.threads
    assert 1 <= env.cores


def test_libraries_that_are_missing_are_left_out() -> None:
    env = get_env_info()
    shown = {line.split()[0] for line in get_pretty_env_info().splitlines()}
    assert {name for name in env.libraries if name in shown} == {n for n, v in env.libraries.items() if v is not None}


def test_both_sources_agree_on_the_instruction_sets() -> None:
    pytest.importorskip("llvmlite")
    from_kernel = features_from_kernel()
    if not from_kernel or platform.machine() != "x86_64":
        pytest.skip("the system does not list them, or by other names")
    assert set(host_cpu()[1]) == set(from_kernel)
