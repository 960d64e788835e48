"""What the screen says of a job that failed, whatever became of its logs."""

import pytest

import snakemake_logger_plugin_regimes as logger


@pytest.mark.parametrize(
    "text, told",
    [
        ("it broke\n", "it broke"),
        ("", "(empty)"),
        (
            "\nSNAKEMAKE\n=========\nJob\nslurmstepd: error: CANCELLED DUE TO TIME LIMIT\nmore\n",
            "slurmstepd: error: CANCELLED DUE TO TIME LIMIT",
        ),
    ],
)
def test_a_log_is_shown(tmp_path, text, told):
    (log := tmp_path / "job.log").write_text(text)
    assert logger._told(str(log)) == told


def test_a_log_that_is_not_there_is_no_error(tmp_path):
    assert "did not start" in logger._told(str(tmp_path / "job.log"))


def test_advice_that_stands_in_every_message_is_left_out():
    said = "Job '2' failed. Detailed failure reason unavailable (no sacct).For further error"
    assert logger._ADVICE.sub("", said).strip() == "Job '2' failed."
