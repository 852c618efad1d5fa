"""The explorer's command: it says where its page is, serves it, and ends when it is told to."""

import re
import signal
import subprocess
import urllib.request

import pytest

from jaxgan import cli
from tests.end_to_end.conftest import command


def test_the_page_of_a_model_of_the_zoo():
    starting = command("explore", "--run=zoo:fashion-dcgan", "--port=0", "--batch=2", "--token=word")
    with subprocess.Popen(starting, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = ""
            while not (found := re.search(r"(http://localhost:\d+)/\?token=word", said)):
                line = process.stdout.readline()
                assert line, said
                said += line
            opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with opener.open(f"{found[1]}/?token=word", timeout=30) as answer:
                assert b"jaxgan" in answer.read()
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run=zoo:nothing"], "zoo:nothing is not in the zoo"),
        (["--run=zoo:fashion-dcgan", "--batch=3"], "no power of two"),
        (["--run=zoo:fashion-dcgan", "--directions=nowhere.npy"], "nowhere.npy cannot be read"),
        (["--run=zoo:fashion-dcgan", "--token=ü"], "use ASCII"),
    ],
)
def test_what_is_refused(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["jaxgan", "explore", *arguments])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
