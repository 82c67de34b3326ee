"""One spelling of data sets, on every command line."""

from __future__ import annotations

import pytest

from clickcut_eval.data_spec import (
    EVALUATED,
    TRAINED,
    WITH_SPLITS,
    DataSpec,
    evaluated,
    parse_spec,
)
from clickcut_eval.datasets import DATASETS
from clickcut_eval.errors import DatasetError
from clickcut_train.data.config import SourceConfig


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("voc:VOC2012:train,extra@2.5", DataSpec("voc", "VOC2012", ("train", "extra"), 2.5)),
        ("voc:/data/VOC2012", DataSpec("voc", "/data/VOC2012")),
        ("coco:a/b:val2017", DataSpec("coco", "a/b", ("val2017",))),
        ("davis:d:2016/train", DataSpec("davis", "d", ("2016/train",))),
        ("folder:me@home/x", DataSpec("folder", "me@home/x")),
        ("folder:a:b", DataSpec("folder", "a:b")),
        ("shards:packed@3", DataSpec("shards", "packed", (), 3.0)),
        ("shards:http://host:80/x@2/y", DataSpec("shards", "http://host:80/x@2/y")),
    ],
)
def test_spellings(text, spec):
    assert parse_spec(text, TRAINED) == spec
    assert parse_spec(str(spec), TRAINED) == spec


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "KIND:FOLDER"),
        ("voc:", "KIND:FOLDER"),
        ("pascal:x", "kinds are grabcut"),
        ("grabcut=DATA/grabcut", "here grabcut:DATA/grabcut"),
        ("photos", "such as folder:photos"),
        ("shards:x", "kinds are grabcut"),
        ("voc:x@nan", "above 0"),
        ("voc:x@-1", "above 0"),
        ("voc:x@much", "is not a number"),
    ],
)
def test_other_spellings_say_what_is_wanted(text, advice):
    with pytest.raises(DatasetError) as error:
        parse_spec(text, EVALUATED)
    assert advice in str(error.value)


def test_evaluations_take_no_weight_and_no_name_twice():
    with pytest.raises(DatasetError, match="leave @2 out"):
        evaluated(["voc:x@2"])
    with pytest.raises(DatasetError, match="voc: given twice"):
        evaluated(["voc:x", "voc:y:val"])
    names = [s.name for s in evaluated(["voc:x:val", "voc:x:train", "coco:x:val2017", "davis:x"])]
    assert names == ["voc", "voc:train", "coco:val2017", "davis"]
    assert DataSpec.named("voc:train", "x") == DataSpec("voc", "x", ("train",))


def test_the_kinds_are_those_that_are_read():
    assert tuple(DATASETS) == EVALUATED
    assert set(WITH_SPLITS) < set(TRAINED)
    assert set(TRAINED) == set(SourceConfig.model_fields["kind"].annotation.__args__)
