"""Which model a device uses: put in place, taken back; whole at any moment, whatever is killed.

STATE/model.onnx is the model in use and is only ever replaced by one rename. On its way out it is
first copied to model.outgoing.onnx, which becomes model.previous.onnx once the new one is in
place. Does not cover whether a model is good or fits the gallery. All calls need the state's lock.
"""

from __future__ import annotations

from edge.errors import ModelError
from edge.record.state import StateFolder, remove_file, rename_file, write_file


def put_in_place(state: StateFolder, model_bytes: bytes) -> bool:
    """Makes these bytes the model in use; true when another one was, and is now the previous."""
    finish(state)
    if not state.model.is_file():
        write_file(state.model, model_bytes)
        return False
    outgoing = state.model.read_bytes()
    if outgoing == model_bytes:
        return False
    write_file(state.outgoing_model, outgoing)
    write_file(state.model, model_bytes)
    _keep_outgoing(state)
    return True


def previous(state: StateFolder) -> bytes:
    """The model before the one in use; raises ModelError when there is none."""
    finish(state)
    if not state.previous_model.is_file():
        raise ModelError(
            f"there is no model to go back to: {state.previous_model} is not there; it appears "
            "when `edge-admin model install` replaces a model"
        )
    return state.previous_model.read_bytes()


def finish(state: StateFolder) -> None:
    """Completes, or forgets, a replacement that was cut off half-way."""
    if not state.outgoing_model.exists():
        return
    if state.model.is_file() and state.model.read_bytes() == state.outgoing_model.read_bytes():
        remove_file(state.outgoing_model)
    else:
        _keep_outgoing(state)


def _keep_outgoing(state: StateFolder) -> None:
    rename_file(state.outgoing_model, state.previous_model)
