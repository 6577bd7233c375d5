"""Which label values a case annotates: from dataset.json, from a table file, and what contradicts itself."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("isal")


from segkit.partial.annotation import EVERYTHING, ORGANS, TUMOUR, read_annotations
from segkit.partial.errors import AnnotationError
from segkit.partial.survey import main as survey_main
from segkit.partial.survey import survey, write_draft

from .partial_cases import label_map, make_data, write_image

FOUR = {"all": [1, 14], "organs": [1, 2], "some": [2], "nothing": None}
FOUR_ANNOTATED = {"all": list(range(1, 15)), "organs": list(range(1, 14)), "some": [2, 14], "nothing": []}


@pytest.fixture
def four(tmp_path):
    """A case of each group, with the table in dataset.json."""
    return make_data(tmp_path / "data", FOUR, FOUR_ANNOTATED)


def names(cases):
    return [case.name for case in cases]


def write_csv(path, *rows):
    path.write_text("\n".join(("case,labels", *rows)) + "\n")
    return path


def test_dataset_json_says_what_each_case_annotates(four):
    table = read_annotations(four)
    assert {case.name: sorted(case.annotated) for case in table.cases} == FOUR_ANNOTATED
    assert table["some"].image == four / "imagesTr" / "some_0000.nii.gz"
    assert table["some"].label == four / "labelsTr" / "some.nii.gz"
    assert table["nothing"].label is None
    assert "dataset.json" in table.origin


def test_cases_fall_into_groups(four):
    table = read_annotations(four)
    assert names(table.with_everything()) == ["all"]
    assert names(table.with_all_organs()) == ["all", "organs"]
    assert names(table.with_tumour()) == ["all", "some"]
    assert names(table.with_some()) == ["organs", "some"]
    assert names(table.with_nothing()) == ["nothing"]
    assert names(table.lacking_organs()) == ["nothing", "some"]
    assert names(table.lacking_tumour()) == ["nothing", "organs"]


def test_a_folder_without_a_table_is_not_taken_as_complete_unasked(tmp_path):
    with pytest.raises(AnnotationError, match=r"does not say.*--annotated FILE.*--complete"):
        read_annotations(make_data(tmp_path, {"labelled": [1], "bare": None}))


def test_where_labels_are_said_to_be_complete_a_label_file_speaks_of_every_class(tmp_path):
    table = read_annotations(make_data(tmp_path, {"labelled": [1], "bare": None}), complete=True)
    assert table["labelled"].annotated == EVERYTHING
    assert table["bare"].annotated == frozenset()


def test_every_class_means_every_class_of_dataset_json(tmp_path):
    data = make_data(tmp_path, {"labelled": [1]})
    organs = {"background": 0, "liver": 1, "right kidney": 2}
    (data / "dataset.json").write_text(json.dumps({"labels": organs}))
    table = read_annotations(data, complete=True)
    assert table["labelled"].annotated == {1, 2}
    assert names(table.lacking_tumour()) == ["labelled"]


def test_labels_of_nnunet_1_run_from_value_to_name(tmp_path):
    data = make_data(tmp_path, {"labelled": [1]})
    (data / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "14": "Tumor"}}))
    assert read_annotations(data, complete=True)["labelled"].annotated == {TUMOUR}


def test_a_case_that_the_table_leaves_out_counts_as_if_there_were_none(tmp_path):
    table = read_annotations(
        make_data(tmp_path, {"named": [2], "labelled": [1], "bare": None}, {"named": [2]})
    )
    assert table["named"].annotated == {2}
    assert table["labelled"].annotated == EVERYTHING
    assert table["bare"].annotated == frozenset()


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        ("1 2 14", {1, 2, 14}),
        ("liver; Left Kidney;14", {1, 13, 14}),
        ("liver left_kidney", {1, 13}),
        ('"1,2"', {1, 2}),
        ("all", set(EVERYTHING)),
        ("organs", set(ORGANS)),
        ("organs tumour", set(EVERYTHING)),
        ("none", set()),
    ],
)
def test_a_csv_table_takes_values_names_and_words(tmp_path, entry, values):
    data = make_data(tmp_path / "data", {"one": [1]})
    assert (
        read_annotations(data, write_csv(tmp_path / "table.csv", f"one,{entry}"))["one"].annotated == values
    )


def test_a_csv_table_may_come_from_a_spreadsheet_and_have_other_columns(tmp_path):
    data = make_data(tmp_path / "data", {"one": [1]})
    table = tmp_path / "table.csv"
    table.write_bytes(b"\xef\xbb\xbfcentre,case,labels\r\nA,one,1 2\r\n")
    assert read_annotations(data, table)["one"].annotated == {1, 2}


def test_a_json_table_takes_lists_and_words(tmp_path):
    data = make_data(tmp_path / "data", {"one": [1], "two": [1], "three": None})
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"one": [1, "tumour"], "two": "organs", "three": []}))
    read = read_annotations(data, table)
    assert [read[name].annotated for name in ("one", "two", "three")] == [{1, 14}, ORGANS, set()]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ([15], "unknown label 15"),
        ([-1], "unknown label -1"),
        ([0], "unknown label 0"),
        ([True], "unknown label True"),
        ([1.5], "unknown label 1.5"),
        (["appendix"], "unknown label 'appendix'"),
        (3, "no list of label values"),
        ("", "are empty"),
        (None, "no list of label values"),
    ],
)
def test_an_entry_that_means_nothing_is_refused_with_its_case(tmp_path, entry, said):
    with pytest.raises(AnnotationError, match=said) as caught:
        read_annotations(make_data(tmp_path, {"one": [1]}, {"one": entry}))
    assert "one" in str(caught.value) and "dataset.json" in str(caught.value)


def test_a_table_that_names_an_unknown_case_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match=r"no image for 1 case.*typo"):
        read_annotations(make_data(tmp_path, {"one": [1]}, {"one": [1], "typo": [1]}))


def test_a_case_cannot_annotate_without_a_label_file(tmp_path):
    with pytest.raises(AnnotationError, match=r"one annotates 1, 2, but labelsTr/one\.nii\.gz is missing"):
        read_annotations(make_data(tmp_path, {"one": None}, {"one": [2, 1]}))


def test_two_tables_must_agree(tmp_path, four):
    same = tmp_path / "same.json"
    same.write_text(json.dumps(FOUR_ANNOTATED))
    assert read_annotations(four, same).origin == str(same)
    other = write_csv(tmp_path / "other.csv", "some,2")
    with pytest.raises(AnnotationError, match=r"two tables that differ.*other\.csv.*dataset\.json"):
        read_annotations(four, other)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "case,labels\none,1\none,2\n", "names one twice"),
        ("t.json", '{"one": [1], "one": [2]}', "names one twice"),
        ("t.csv", "one,1\n", "columns case and labels"),
        ("t.csv", "", "columns case and labels"),
        ("t.csv", "case,labels\none,1,2\n", "line 2"),
        ("t.csv", "case,labels\none\n", "line 2"),
        ("t.json", "{", "cannot be read as JSON"),
        ("t.json", "[1]", "not a table of cases"),
        ("t.txt", "one 1", r"a \.json or a \.csv file"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(tmp_path, name, text, said):
    data = make_data(tmp_path / "data", {"one": [1]})
    (tmp_path / name).write_text(text)
    with pytest.raises(AnnotationError, match=said) as caught:
        read_annotations(data, tmp_path / name)
    assert name in str(caught.value)


def test_a_table_that_is_missing_is_named(tmp_path):
    data = make_data(tmp_path / "data", {"one": [1]})
    for name in ("none.csv", "none.json"):
        with pytest.raises(AnnotationError, match=name):
            read_annotations(data, tmp_path / name)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"background": 0, "vertebra": 15}, "label values 15 mean nothing"),
        ({"background": 0, "spleen": 1}, "spleen is 1, but 3"),
        ({"organs": [1, 2]}, "no table of names and values"),
        ([1, 2], "no table of names and values"),
    ],
)
def test_labels_of_another_numbering_are_refused(tmp_path, labels, said):
    data = make_data(tmp_path, {"one": [1]})
    (data / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(AnnotationError, match=said):
        read_annotations(data)


def test_a_folder_without_images_and_a_label_without_one_are_refused(tmp_path):
    with pytest.raises(AnnotationError, match="holds imagesTr"):
        read_annotations(tmp_path)
    data = make_data(tmp_path, {"one": [1]})
    write_image(data / "labelsTr" / "orphan.nii.gz", label_map(values=[1]))
    with pytest.raises(AnnotationError, match="orphan"):
        read_annotations(data)


def test_the_survey_counts_what_is_annotated_and_what_is_found(four, tmp_path):
    text = survey(read_annotations(four), tmp_path / "survey.json")
    assert "annotating everything 1, some 2, nothing 1; all organs 2, the tumour 2" in text
    lines = {line.split()[1]: line.split()[2:] for line in text.splitlines()[3:]}
    assert lines["right_kidney"][:2] == ["3", "2"]
    assert lines["tumour"] == ["2", "1", "0.0"]
    assert lines["duodenum"] == ["2", "0"]
    content = json.loads((tmp_path / "survey.json").read_text())
    assert content["groups"]["nothing"] == 1
    organs = content["cases"][2]
    assert organs["case"] == "organs" and organs["voxels"] == {"1": 1, "2": 1}


def test_a_survey_does_not_read_a_label_file_twice(four, tmp_path, monkeypatch):
    table, out = read_annotations(four), tmp_path / "survey.json"
    first = survey(table, out)
    read = []
    monkeypatch.setattr(
        "segkit.partial.survey.read_labels",
        lambda path, *_: read.append(path.name) or label_map(values=[2, 2]),
    )
    assert survey(table, out) == first
    assert read == []
    write_image(four / "labelsTr" / "some.nii.gz", label_map(values=[2, 2]))
    survey(table, out)
    assert read == ["some.nii.gz"]


def test_a_survey_that_was_stopped_goes_on(four, tmp_path, monkeypatch):
    table, out = read_annotations(four), tmp_path / "survey.json"

    def stop(case):
        if case == "organs":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        survey(table, out, stop)
    assert not out.exists()
    read = []
    monkeypatch.setattr(
        "segkit.partial.survey.read_labels", lambda path, *_: read.append(path.name) or label_map(values=[2])
    )
    survey(table, out)
    assert read == ["some.nii.gz"]


def test_the_survey_names_every_label_file_that_contradicts_the_table(four, tmp_path):
    write_image(four / "labelsTr" / "some.nii.gz", label_map(values=[2, 3, 3]))
    (four / "labelsTr" / "organs.nii.gz").write_bytes(b"no image")
    with pytest.raises(AnnotationError) as caught:
        survey(read_annotations(four), tmp_path / "survey.json")
    message = str(caught.value)
    assert "2 of 4 cases" in message
    assert "some.nii.gz: label 3 (2 voxels), where only 2, 14 may be" in message
    assert "organs.nii.gz: cannot be read" in message
    assert not (tmp_path / "survey.json").exists()


def test_a_draft_table_holds_what_occurs_and_is_read_back(tmp_path):
    data = make_data(tmp_path / "data", {"one": [1, 14], "empty": [], "bare": None})
    survey(read_annotations(data, complete=True), tmp_path / "survey.json")
    draft = tmp_path / "draft.csv"
    write_draft(tmp_path / "survey.json", draft)
    table = read_annotations(data, draft)
    assert [table[name].annotated for name in ("one", "empty", "bare")] == [{1, 14}, set(), set()]
    with pytest.raises(AnnotationError, match="may have been edited"):
        write_draft(tmp_path / "survey.json", draft)


def test_the_survey_runs_from_the_command_line(four, tmp_path, capsys):
    assert survey_main([str(four), "--json", str(tmp_path / "survey.json")]) == 0
    assert "4 cases" in capsys.readouterr().out
    assert survey_main([str(tmp_path / "nowhere"), "--json", str(tmp_path / "s.json")]) == 2
    assert "error: no imagesTr" in capsys.readouterr().err
