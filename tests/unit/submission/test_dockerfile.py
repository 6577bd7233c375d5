"""The images that a Dockerfile builds on are read as the builder understands it."""

import pytest

from harness.submission.dockerfile import parents


@pytest.mark.parametrize(
    ("text", "build_args", "expected"),
    [
        ("FROM a:1", {}, ("a:1",)),
        ("from a:1 as x\nFROM x", {}, ("a:1",)),
        ("FROM --platform=linux/amd64 a:1", {}, ("a:1",)),
        ("FROM scratch\nCOPY x /", {}, ()),
        ("# FROM b\nFROM a\n", {}, ("a",)),
        ("FROM a\nFROM b\nFROM a", {}, ("a", "b")),
        ("FROM a AS one\nFROM b\nCOPY --from=one /x /x\nCOPY --from=0 /y /y", {}, ("a", "b")),
        ("FROM a\nCOPY --chown=1:1 --from=registry/tool:2 /x /x", {}, ("a", "registry/tool:2")),
        ("ARG P=a:1\nFROM ${P}", {}, ("a:1",)),
        ("ARG P=a:1\nFROM $P", {"P": "b:2"}, ("b:2",)),
        ("ARG P\nFROM ${P:-a:1}", {}, ("a:1",)),
        ("ARG P\nFROM a${P:+-slim}", {"P": "yes"}, ("a-slim",)),
        ("ARG P\nFROM a${P:+-slim}", {}, ("a",)),
        ("ARG N=a T=1\nFROM ${N}:${T}", {"T": "2"}, ("a:2",)),
        ("ARG N=a\nARG P=${N}:1\nFROM ${P}", {}, ("a:1",)),
        ('ARG P="a:1"\nFROM ${P}', {}, ("a:1",)),
        ("FROM \\\n  a:1 \\\n  AS x", {}, ("a:1",)),
        ("FROM a\nRUN echo 'FROM b' \\\n && true", {}, ("a",)),
        # An argument of a stage names no image, and one that nobody declared stays what it is.
        ("FROM a\nARG P=b\nRUN true", {"P": "c"}, ("a",)),
        ("FROM ${UNKNOWN}", {"UNKNOWN": "a"}, ("${UNKNOWN}",)),
        ("", {}, ()),
    ],
)
def test_parents_are_found(text, build_args, expected):
    assert parents(text, build_args) == expected
