"""PyTorch: `.pt2` files of torch.export, and modules with example inputs, which are exported here.

A `.pt2` is read without unpickling anything but tensors (TORCH_FORCE_WEIGHTS_ONLY_LOAD), and one that carries pickled
or compiled code is refused: a model file must not be able to run a program. `module:function` is the user's own code.
"""

import os
import re
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from edgeward_converters.sources import Run, Source, described
from edgeward_converters.sources.recognize import Given, usable_name
from edgeward_converters.sources.tensors import Array, check_dtype, clean_names
from edgeward_runtimes.errors import SourceError, one_line
from edgeward_runtimes.manifest import Tensor

# Members that torch.export.load would unpickle with code, or load as a shared library.
_CODE = re.compile(r"data/(aotinductor/|constants/(custom_obj|opaque_obj))")
_EXPECTED = "expected (module, example_inputs), or an ExportedProgram"


def save(given: Any, folder: Path) -> Path:
    """Export a live `(module, example_inputs)`, or what a callable gives of that kind, into `folder`. SourceError."""
    import torch

    if not isinstance(given, tuple | torch.export.ExportedProgram | torch.nn.Module) and callable(given):
        given = given()
    if isinstance(given, torch.export.ExportedProgram):
        name, program = "model", given
    else:
        name, program = _exported(given)
    path = folder / f"{usable_name(name)}.pt2"
    torch.export.save(program, str(path))
    return path


def describe(given: Given, folder: Path) -> Source:
    """Read the program, or import and export it, and say its tensors."""
    path = given.path
    if given.function is not None:
        path = save(imported(given.function), folder)
    program = load(path)
    inputs = _tensors(_user_inputs(program), given)
    outputs = _named(_outputs(program, given), given)
    return described(replace(given, path=path), "torch", path, inputs, outputs)


def runner(source: Source) -> Run:
    """The program, by PyTorch itself."""
    import torch

    program = load(source.canonical)
    module = program.module()

    def run(arrays: list[Array]) -> list[Array]:
        arguments, options = arguments_of(program, [torch.from_numpy(array.copy()) for array in arrays])
        with torch.no_grad():
            results = torch.utils._pytree.tree_leaves(module(*arguments, **options))
        return [result.numpy() for result in results]

    return run


def load(path: Path) -> Any:
    """The `torch.export.ExportedProgram` of a `.pt2` file. Raises SourceError."""
    import torch

    _refuse_code(path)
    with _tensors_only():
        try:
            return torch.export.load(str(path))
        except Exception as error:  # RuntimeErrors of the zip reader, KeyErrors of the serializer, and more
            raise SourceError(f"PyTorch cannot load {path}: {type(error).__name__}: {one_line(error)}") from error


def arguments_of(program: Any, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments for the program's module: its examples, with these tensors in their places."""
    import torch
    from torch.utils import _pytree as pytree

    leaves, structure = pytree.tree_flatten(program.example_inputs)
    rest = iter(tensors)
    arguments, options = pytree.tree_unflatten(
        [next(rest) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves], structure
    )
    return arguments, options


def examples(program: Any, batch: int) -> list[Any]:
    """The example tensors with `batch` samples."""
    import torch
    from torch.utils import _pytree as pytree

    leaves = pytree.tree_leaves(program.example_inputs)
    return [_repeated(leaf, batch) for leaf in leaves if isinstance(leaf, torch.Tensor)]


def imported(function: str) -> Any:
    """What `module:function` gives, with the current folder on the path, as `python -m` has it."""
    module_name, _, attribute = function.partition(":")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found: Any = import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found() if callable(found) and not _is_module(found) else found
    except SourceError:
        raise
    except Exception as error:  # the user's code raises what it likes
        raise SourceError(f"{function} cannot be used: {type(error).__name__}: {one_line(error)}") from error
    finally:
        sys.path.pop(0)


def _is_module(found: Any) -> bool:
    import torch

    return isinstance(found, torch.nn.Module)


def _exported(given: Any) -> tuple[str, Any]:
    """Name and program of `(module, example_inputs)`: with a free batch where the module allows it."""
    import torch

    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], torch.nn.Module)):
        came = "a torch.nn.Module alone" if isinstance(given, torch.nn.Module) else f"a {type(given).__name__}"
        raise SourceError(f"A PyTorch source is a pair: {_EXPECTED}; {came} came. The examples tell shapes and dtypes.")
    module, given_examples = given
    options = dict(given_examples) if isinstance(given_examples, dict) else {}
    arguments = () if options else given_examples if isinstance(given_examples, tuple) else (given_examples,)
    training = module.training
    try:
        return type(module).__name__, _export(module.eval(), arguments, options)
    except Exception as error:  # torch.export raises what tracing met
        raise SourceError(
            f"torch.export cannot export {type(module).__name__}: {type(error).__name__}: {one_line(error)}"
        ) from error
    finally:
        module.train(training)


def _export(module: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Export with a free first axis where the module allows it, else with the examples' own sizes."""
    import torch
    from torch.utils import _pytree as pytree

    sizes = {leaf.shape[:1] for leaf in pytree.tree_leaves((arguments, options)) if isinstance(leaf, torch.Tensor)}
    if len(sizes) == 1 and () not in sizes:
        with suppress(Exception):  # what cannot have a free batch raises what tracing met
            return _export_free(module, arguments, options)
    return torch.export.export(module, arguments, options)


def _export_free(module: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Export two samples, and more as they are: torch.export takes an axis of one for a constant."""
    import torch
    from torch.utils import _pytree as pytree

    def at_least_two(leaf: Any) -> Any:
        return _repeated(leaf, 2) if isinstance(leaf, torch.Tensor) and leaf.shape[0] == 1 else leaf

    def free(leaf: Any) -> Any:
        return {0: torch.export.Dim.AUTO} if isinstance(leaf, torch.Tensor) else None

    arguments, options = pytree.tree_map(at_least_two, (arguments, options))
    shapes = pytree.tree_map(free, options or arguments)
    return torch.export.export(module, arguments, options, dynamic_shapes=shapes)


def _repeated(leaf: Any, batch: int) -> Any:
    import torch

    if not isinstance(leaf, torch.Tensor) or not leaf.ndim:
        return leaf
    return leaf[:1].repeat(batch, *(1,) * (leaf.ndim - 1))


def _refuse_code(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            carrying = [name for name in archive.namelist() if _CODE.search(name)]
    except (OSError, zipfile.BadZipFile) as error:
        raise SourceError(f"{path} is no readable .pt2 file: {one_line(error)}. Save it again.") from error
    if carrying:
        raise SourceError(
            f"{path} carries code of its own ({carrying[0]}), which would run when it is loaded. Export the model "
            "without custom objects: torch.export.save(torch.export.export(module, example_inputs), 'model.pt2')."
        )


@contextmanager
def _tensors_only() -> Iterator[None]:
    """torch.export.load unpickles anything when tensors alone do not work out; this variable forbids it."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _user_inputs(program: Any) -> list[tuple[str, Any]]:
    wanted = set(program.graph_signature.user_inputs)
    return [
        (node.name, node.meta["val"])
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in wanted and hasattr(node.meta.get("val"), "shape")
    ]


def _outputs(program: Any, given: Given) -> list[tuple[str, Any]]:
    """The outputs' public names, by where they stand in what the module returns, with their fake tensors."""
    from torch.utils import _pytree as pytree

    node = next(node for node in program.graph.nodes if node.op == "output")
    kinds = [str(kind.kind) for kind in program.graph_signature.output_specs]
    found = [each for each, kind in zip(node.args[0], kinds, strict=True) if kind.endswith("USER_OUTPUT")]
    if len(found) != len(kinds) or any(not hasattr(getattr(each, "meta", {}).get("val"), "shape") for each in found):
        raise SourceError(
            f"{given.named} returns, or changes, something that is no output tensor. Return tensors alone."
        )
    structure = pytree.tree_unflatten(list(range(len(found))), program.call_spec.out_spec)
    paths, _ = pytree.tree_flatten_with_path(structure)
    return [(_output_name(pytree.keystr(where)), found[leaf].meta["val"]) for where, leaf in paths]


def _output_name(where: str) -> str:
    """`['logits']` is logits, `[0]` is output_0, and the only output is output."""
    name = "_".join(re.findall(r"\w+", where))
    return name if name and not name[0].isdigit() else f"output_{name}".rstrip("_")


def _tensors(found: Sequence[tuple[str, Any]], given: Given) -> list[Tensor]:
    return [
        Tensor(
            name=name,
            shape=tuple(size if isinstance(size, int) else None for size in value.shape),
            dtype=check_dtype(name, str(value.dtype).removeprefix("torch."), given.named),
        )
        for name, value in found
    ]


def _named(found: Sequence[tuple[str, Any]], given: Given) -> list[Tensor]:
    tensors = _tensors(found, given)
    return [replace(each, name=name) for each, name in zip(tensors, clean_names(t.name for t in tensors), strict=True)]
