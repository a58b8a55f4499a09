"""Model files made hostile with the onnx package; each has a fitting encoder id and seal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf.message import Message
from onnx import TensorProto, helper, numpy_helper

from edge import model
from edge.encoder import encoder_of, open_encoder
from edge.errors import ModelError
from edge.model_file import protobuf
from edge.model_file.protobuf import Budget

Proto = onnx.ModelProto
FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8


@pytest.fixture
def honest(model_file: Path) -> Proto:
    return onnx.load(model_file)


def stored(proto: Proto, **changes: Any) -> bytes:
    """The file as a forger who knows the format would write it."""
    text = next(one.value for one in proto.metadata_props if one.key == model.METADATA_KEY)
    manifest = dataclasses.replace(
        model.manifest_from_json(text),
        encoder_id=model.encoder_id(proto.SerializeToString()),
        **changes,
    )
    helper.set_model_props(proto, {model.METADATA_KEY: model.manifest_to_json(manifest)})
    return model.seal(proto.SerializeToString())


def outside(location: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=FLOAT, dims=[16], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def body(*nodes: onnx.NodeProto, tensors: tuple[TensorProto, ...] = ()) -> onnx.GraphProto:
    out = helper.make_tensor_value_info("inner", FLOAT, None)
    return helper.make_graph(list(nodes), "body", [], [out], list(tensors))


def custom(domain: str = "evil") -> onnx.NodeProto:
    return helper.make_node("Run", ["images"], ["inner"], domain=domain)


def add_if(proto: Proto, branch: onnx.GraphProto) -> None:
    proto.graph.node.append(
        helper.make_node("If", ["yes"], ["z"], then_branch=branch, else_branch=branch)
    )


def external(location: str) -> Callable[[Proto], None]:
    return lambda proto: proto.graph.initializer.append(outside(location))


def external_in_a_constant(proto: Proto) -> None:
    proto.graph.node.append(helper.make_node("Constant", [], ["k"], value=outside("w.bin")))


def external_in_a_list(proto: Proto) -> None:
    node = helper.make_node("Constant", [], ["k"])
    node.attribute.add(name="many", type=onnx.AttributeProto.TENSORS).tensors.append(outside("w"))
    proto.graph.node.append(node)


def external_without_its_mark(proto: Proto) -> None:
    tensor = outside("w.bin")
    tensor.data_location = TensorProto.DEFAULT
    proto.graph.initializer.append(tensor)


def marked_external_without_a_place(proto: Proto) -> None:
    tensor = outside("w.bin")
    del tensor.external_data[:]
    proto.graph.initializer.append(tensor)


def external_in_memory(proto: Proto) -> None:
    """onnxruntime takes this location for an address in its own memory."""
    proto.graph.initializer.append(outside("*/_ORT_MEM_ADDR_/*"))


def custom_operator(proto: Proto) -> None:
    proto.graph.node.append(custom())


def contributed_operator(proto: Proto) -> None:
    proto.graph.node.append(helper.make_node("Gelu", ["images"], ["k"], domain="com.microsoft"))


def branch_with_external(proto: Proto) -> None:
    add_if(proto, body(tensors=(outside("w.bin"),)))


def branch_with_custom(proto: Proto) -> None:
    add_if(proto, body(custom()))


def loop_with_custom(proto: Proto) -> None:
    proto.graph.node.append(helper.make_node("Loop", ["m", "c"], ["z"], body=body(custom())))


def graphs_in_a_list(proto: Proto) -> None:
    node = helper.make_node("Identity", ["images"], ["k"])
    node.attribute.add(name="many", type=onnx.AttributeProto.GRAPHS).graphs.append(body())
    proto.graph.node.append(node)


def function(proto: Proto) -> None:
    proto.functions.append(
        helper.make_function("", "Conv", ["x"], ["y"], [custom()], [helper.make_opsetid("", 18)])
    )


def training(proto: Proto) -> None:
    proto.training_info.add().algorithm.CopyFrom(body(custom()))


def sparse(proto: Proto) -> None:
    tensor = onnx.SparseTensorProto(dims=[4])
    tensor.values.CopyFrom(outside("w.bin"))
    proto.graph.sparse_initializer.append(tensor)


def sparse_in_a_node(proto: Proto) -> None:
    node = helper.make_node("Constant", [], ["k"])
    part = node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR)
    part.sparse_tensor.values.CopyFrom(outside("w.bin"))
    proto.graph.node.append(node)


STRUCTURE = [
    (external("w.bin"), "keeps weights outside its own file"),
    (external("../../secret"), "keeps weights outside its own file"),
    (external("/etc/passwd"), "keeps weights outside its own file"),
    (external_in_a_constant, "keeps weights outside its own file"),
    (external_in_a_list, "keeps weights outside its own file"),
    (external_without_its_mark, "keeps weights outside its own file"),
    (marked_external_without_a_place, "keeps weights outside its own file"),
    (external_in_memory, "keeps weights outside its own file"),
    (custom_operator, "uses Run of evil, an operator that is not ONNX's own"),
    (contributed_operator, "uses Gelu of com.microsoft, an operator that is not"),
    (branch_with_external, "hides a graph inside another"),
    (branch_with_custom, "hides a graph inside another"),
    (loop_with_custom, "hides a graph inside another"),
    (graphs_in_a_list, "hides a graph inside another"),
    (function, "brings operators of its own"),
    (training, "hides a graph inside another"),
    (sparse, "holds sparse weights"),
    (sparse_in_a_node, "holds sparse weights"),
]


def ends(field: str, **value: Any) -> Callable[[Proto], None]:
    """The only input or output replaced."""

    def change(proto: Proto) -> None:
        infos = getattr(proto.graph, field)
        name, kind, shape = (
            ("images", UINT8, ["n", 32, 48, 3]) if field == "input"
            else ("embeddings", FLOAT, ["n", infos[0].type.tensor_type.shape.dim[1].dim_value])
        )  # fmt: skip
        made = helper.make_tensor_value_info(
            value.get("name", name), value.get("kind", kind), value.get("shape", shape)
        )
        infos[0].CopyFrom(made)

    return change


def another_input(proto: Proto) -> None:
    proto.graph.input.append(helper.make_tensor_value_info("more", FLOAT, [1]))


def no_output(proto: Proto) -> None:
    del proto.graph.output[:]


def a_list_as_input(proto: Proto) -> None:
    proto.graph.input[0].CopyFrom(
        helper.make_tensor_sequence_value_info("images", UINT8, ["n", 32, 48, 3])
    )


ENDS = [
    (ends("input", name="pictures"), r"it has pictures uint8 \[N, 32, 48, 3\], expected is images"),
    (ends("input", kind=FLOAT), r"it has images float32 "),
    (ends("input", shape=["n", 3, 32, 48]), r"it has images uint8 \[N, 3, 32, 48\]"),
    (ends("input", shape=["n", 64, 48, 3]), r"it has images uint8 \[N, 64, 48, 3\]"),
    (ends("input", shape=[2, 32, 48, 3]), r"it has images uint8 \[2, 32, 48, 3\]"),
    (ends("input", shape=["n", "h", "w", 3]), r"it has images uint8 \[N, N, N, 3\]"),
    (ends("input", shape=None), "no plain shape"),
    (ends("output", name="logits"), r"output .* it has logits float32"),
    (ends("output", kind=TensorProto.FLOAT16), "it has embeddings type 10"),
    (ends("output", shape=["n", 5]), r"it has embeddings float32 \[N, 5\]"),
    (another_input, r"it has images uint8 .*, more float32 \[1\]"),
    (no_output, "output .* it has none"),
    (a_list_as_input, "has parts that no encoder needs|no plain shape"),
]


@pytest.mark.parametrize(("change", "told"), [*STRUCTURE, *ENDS])
def test_a_hostile_graph_is_refused_before_onnxruntime_sees_it(
    honest: Proto, change: Callable[[Proto], None], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("onnxruntime was given the model")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    change(honest)
    with pytest.raises(ModelError, match=told) as caught:
        encoder_of(stored(honest))
    assert len(str(caught.value)) < 300


def test_two_graphs_that_protobuf_would_merge_are_refused(honest: Proto) -> None:
    extra = Proto()
    extra.graph.node.append(custom("ai.onnx"))
    plain = honest.SerializeToString()
    merged = Proto.FromString(plain + extra.SerializeToString())
    assert len(merged.graph.node) == len(honest.graph.node) + 1
    manifest = dataclasses.replace(
        model.read_manifest(stored(honest)),
        encoder_id=model.encoder_id(plain + extra.SerializeToString()),
    )
    helper.set_model_props(honest, {model.METADATA_KEY: model.manifest_to_json(manifest)})
    whole = honest.SerializeToString() + extra.SerializeToString()
    with pytest.raises(ModelError, match="holds 2 graphs instead of one"):
        encoder_of(model.seal(whole))


def last(proto: Proto, *nodes: onnx.NodeProto, tensors: tuple[TensorProto, ...] = ()) -> None:
    """Puts nodes between the honest embeddings, then called `unit`, and the output."""
    for node in proto.graph.node:
        for slot, name in enumerate(node.output):
            if name == "embeddings":
                node.output[slot] = "unit"
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(tensors)


def times(value: float) -> Callable[[Proto], None]:
    factor = numpy_helper.from_array(np.array(value, np.float32), "factor")
    node = helper.make_node("Mul", ["unit", "factor"], ["embeddings"])
    return lambda proto: last(proto, node, tensors=(factor,))


def turned(proto: Proto) -> None:
    last(proto, helper.make_node("Transpose", ["unit"], ["embeddings"], perm=[1, 0]))


def whole_numbers(proto: Proto) -> None:
    """A float output by its declaration alone."""
    last(proto, helper.make_node("Cast", ["unit"], ["embeddings"], to=TensorProto.INT64))


def not_an_operator(proto: Proto) -> None:
    last(proto, helper.make_node("Teleport", ["unit"], ["embeddings"]))


def one_picture_only(proto: Proto) -> None:
    """Fails while it runs."""
    shape = numpy_helper.from_array(np.array([1, -1], np.int64), "one")
    last(proto, helper.make_node("Reshape", ["unit", "one"], ["embeddings"]), tensors=(shape,))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (times(np.nan), "output: numbers that are not finite"),
        (times(np.inf), "output: numbers that are not finite"),
        (times(2.0), "output: an embedding of length 2 instead of 1"),
        (times(0.0), "output: an embedding of length 0 instead of 1"),
        (times(-1.0), "gives other embeddings here"),
        (turned, r"output: float32 \[\d+, 4\] instead of float32 \[4, \d+\]"),
        (whole_numbers, "onnxruntime cannot load the model"),
        (not_an_operator, "onnxruntime cannot load the model"),
        (one_picture_only, "output: float32|onnxruntime cannot run the model"),
    ],
)
def test_a_graph_that_gives_no_embeddings_is_refused(
    honest: Proto, change: Callable[[Proto], None], told: str, tmp_path: Path
) -> None:
    change(honest)
    path = tmp_path / "m.onnx"
    path.write_bytes(stored(honest))
    with pytest.raises(ModelError, match=told):
        open_encoder(path)


def test_weights_in_another_file_are_not_even_looked_at(honest: Proto, tmp_path: Path) -> None:
    """A whole, working model with its weights beside it, by a plain and by a hard link."""
    secret = tmp_path / "secret"
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(honest, folder / "m.onnx", save_as_external_data=True, location="w", size_threshold=0)
    (folder / "w").rename(secret)
    for link in (secret.symlink_to, secret.hardlink_to):
        (folder / "w").unlink(missing_ok=True)
        if link == secret.symlink_to:
            (folder / "w").symlink_to(secret)
        else:
            (folder / "w").hardlink_to(secret)
        proto = onnx.load(folder / "m.onnx", load_external_data=False)
        (folder / "m.onnx").write_bytes(stored(proto))
        with pytest.raises(ModelError, match="keeps weights outside its own file"):
            open_encoder(folder / "m.onnx")


def test_the_reader_finds_what_the_onnx_package_finds(honest: Proto) -> None:
    """Field numbers, order and nesting against protobuf's own, down to the attributes."""

    def is_single(value: Any) -> bool:
        return isinstance(value, (str, bytes, int, float, Message))

    def numbers(proto: Any) -> list[int]:
        return sorted(
            field.number
            for field, value in proto.ListFields()
            for _ in ([value] if is_single(value) or field.GetOptions().packed else value)
        )

    checked = 0
    todo = [(honest, memoryview(honest.SerializeToString()))]
    while todo:
        proto, view = todo.pop()
        found = list(protobuf.fields(view, Budget()))
        assert sorted(field.number for field in found) == numbers(proto)
        for field, value in proto.ListFields():
            if field.message_type is not None:
                parts = [one.payload for one in found if one.number == field.number]
                values = [value] if is_single(value) else value
                todo += list(zip(values, parts, strict=True))
        checked += 1
    assert checked > 50
