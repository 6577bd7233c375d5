"""What goes wrong with scripts is found in their text."""

import pytest

from harness.submission.scripts import (
    bash_words,
    byte_order_mark,
    downloads,
    gpu_choices,
    interpreter,
    shell_code,
    windows_lines,
)


def whats(places):
    return [place.what for place in places]


@pytest.mark.parametrize(
    ("script", "word", "stops"),
    [
        ("files=(a b)", "an array", True),
        ("files+=(c)", "an array", True),
        ("read x <<< $y", "<<<", True),
        ("while read x; do :; done < <(ls)", "<(...)", True),
        ("function run { :; }", "function NAME", True),
        ("for ((i=0; i<3; i++)); do :; done", "for ((", True),
        ("a |& b", "|&", True),
        ("set -euo pipefail", "set -o pipefail", True),
        ("set -e -o pipefail", "set -o pipefail", True),
        ("echo ${x//a/b}", "${NAME//...}", True),
        ('echo "${x/a/b}"', "${NAME//...}", True),
        ("echo ${x:0:3}", "${NAME:N}", True),
        ("echo ${x^^}", "${NAME^^} or ${NAME,,}", True),
        ("echo ${!x}", "${!NAME}", True),
        ('cd "$(dirname "${BASH_SOURCE[0]}")"', "${NAME[...]}", True),
        ("if [[ -f x ]]; then :; fi", "[[", False),
        ("[[ -f x ]] && y", "[[", False),
        ("(( n > 3 )) && y", "((", False),
        ("source env.sh", "source", False),
        ("cd x && source env.sh", "source", False),
        ("pushd x", "pushd or popd", False),
        ("shopt -s nullglob", "shopt", False),
        ("declare -a x", "declare", False),
        ("mapfile -t x", "mapfile", False),
        ("python x.py &> log", "&>", False),
        ('[ "$a" == b ] && y', "== in [ ]", False),
        ("for i in {1..5}; do :; done", "{1..9}", False),
    ],
)
def test_words_of_bash_are_found_with_their_line(script, word, stops):
    (found,) = [place for place in bash_words(f"#!/bin/bash\n# a\n{script}\n") if place.what == word]
    assert (found.line, found.stops) == (3, stops)
    assert str(found) == f"{word} (line 3)"


@pytest.mark.parametrize(
    "script",
    [
        'set -eu\nfor x in /workspace/inputs/*; do echo "$x"; done',
        "name=${x##*/}; name=${name%.nii.gz}; y=${z:-default}; w=${v:+set}; u=${t:?missing}",
        "echo 'if [[ a == b ]]; then source x; fi'",
        'echo "use [[ or source"',
        "# source [[ declare",
        "x=1 # [[ not code",
        "[ a = b ] && . ./env.sh",
        "run() { local x; x=$(( 1 + 2 )); echo $((x)); }",
        "bash -c 'x=(1 2); [[ a ]]'",
        "cat <<EOF\n[[ declare x=(1)\nsource y\nEOF\necho done",
        "cat <<-'EOF' >x\n[[ a ]]\nEOF",
        'python - <<"END"\nx = [[1]]\nif x == y: pass\nEND',
        'echo "a\n[[ b ]]\nc"',
        "test a = b || exit 1",
        'python -c "print({1..2})" 2>&1 | tee log',
        "case $x in a) echo;; *) echo;; esac",
        "let_it_be=1; source_dir=x; echo function",
        "( (cd x && make) )",
    ],
)
def test_plain_sh_is_left_alone(script):
    assert bash_words(script) == ()


def test_a_shell_that_is_bash_under_another_name_knows_them_all():
    assert bash_words("x=(1)\n[[ a ]]", shell="bash") == ()


def test_busyboxs_shell_knows_some():
    assert whats(bash_words("[[ a ]]\nx=(1)\nsource y\nset -o pipefail", shell="busybox")) == ["an array"]


def test_blanking_keeps_the_lines():
    text = "a 'b\nc' d\ncat <<E\nx\nE\nf # g"
    assert shell_code(text).split("\n") == ["a   ", "   d", "cat <<E", "", "", "f "]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"#!/bin/sh\n", "sh"),
        (b"#!/usr/bin/env bash\n", "bash"),
        (b"#!/usr/bin/env -S python3 -u\n", "python3"),
        (b"#! /usr/bin/python\r\n", "python"),
        (b"\xef\xbb\xbf#!/bin/bash\n", "bash"),
        (b"#!\n", ""),
        (b"echo\n#!/bin/bash\n", ""),
        (b"", ""),
    ],
)
def test_the_interpreter_that_a_script_names(data, expected):
    assert interpreter(data) == expected


def test_line_ends_and_marks():
    assert windows_lines(b"a\r\nb\r\nc\n") == 2
    assert (windows_lines(b"a\rb\r"), windows_lines(b"printf 'a\r'\n")) == (2, 0)
    assert [byte_order_mark(data) for data in (b"\xef\xbb\xbfa", b"\xff\xfea\0", b"\xfe\xff", b"a")] == [
        "UTF-8",
        "UTF-16",
        "UTF-16",
        None,
    ]


@pytest.mark.parametrize(
    ("script", "python", "expected"),
    [
        ("export CUDA_VISIBLE_DEVICES=1", False, ["CUDA_VISIBLE_DEVICES=1"]),
        ("CUDA_VISIBLE_DEVICES=2,3 python x.py", False, ["CUDA_VISIBLE_DEVICES=2,3"]),
        ('CUDA_VISIBLE_DEVICES="1" x', False, ["CUDA_VISIBLE_DEVICES=1"]),
        ("CUDA_VISIBLE_DEVICES= x", False, ["CUDA_VISIBLE_DEVICES="]),
        ("CUDA_VISIBLE_DEVICES=-1 x", False, ["CUDA_VISIBLE_DEVICES=-1"]),
        ("python x.py --device cuda:1", False, ["cuda:1"]),
        ("CUDA_VISIBLE_DEVICES=0 x", False, []),
        ("# CUDA_VISIBLE_DEVICES=1", False, []),
        ("echo $CUDA_VISIBLE_DEVICES", False, []),
        ("CUDA_VISIBLE_DEVICES=$GPU x", False, []),
        ('os.environ["CUDA_VISIBLE_DEVICES"] = "3"', True, ["CUDA_VISIBLE_DEVICES=3"]),
        ("os.environ['CUDA_VISIBLE_DEVICES']='0'", True, []),
        ("os.environ.setdefault('CUDA_VISIBLE_DEVICES', '1')", True, ["CUDA_VISIBLE_DEVICES=1"]),
        ('torch.device("cuda:2")', True, ["cuda:2"]),
        ('torch.device("cuda:0" if x else "cpu")', True, []),
    ],
)
def test_a_choice_of_gpu_is_found(script, python, expected):
    assert whats(gpu_choices(script, python=python)) == expected


@pytest.mark.parametrize(
    ("script", "python", "count"),
    [
        ("wget https://x/w.pth", False, 1),
        ("test -f w || curl -O https://x/w", False, 1),
        ("pip install monai && python x.py", False, 1),
        ("pip3 install --no-index ./wheels", False, 0),
        ("apt-get update && apt-get -y install x", False, 1),
        ("git clone https://x", False, 1),
        ("gdown 123", False, 1),
        ("# wget x", False, 0),
        ("echo curly wgetting", False, 0),
        ("torch.hub.load('a/b', 'c')", True, 1),
        ("load_state_dict_from_url(url)", True, 1),
        ("urllib.request.urlopen(x)", True, 1),
        ("resnet18(pretrained=True)", True, 1),
        ("AutoModel.from_pretrained('org/name')", True, 1),
        ("AutoModel.from_pretrained('./weights')", True, 0),
        ("AutoModel.from_pretrained(path)", True, 0),
        ("torch.load('w.pth')", True, 0),
    ],
)
def test_downloads_are_found(script, python, count):
    assert len(downloads(script, python=python)) == count
