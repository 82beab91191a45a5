"""Mutation testing: one small change to a module at a time, and the tests that should notice.

    python tests/support/mutation.py                                     # all eight modules
    python tests/support/mutation.py keys translate --share 0.5 --seed 1 # a half of their mutants, drawn by seed
    python tests/support/mutation.py lock --save 1.json
    python tests/support/mutation.py lock --again 1.json --save 2.json   # after a test was added: mutants killed before are not run again

The changes are those of cosmic-ray's operators (``pip install cosmic-ray``); of its eleven replacements for every binary operator and
seven for every comparison one or a few are used, since the same tests kill the others. The driver is our own because cosmic-ray's
edits the working tree in place, and knows one test command only: here each worker has a copy of the tree, and each module the tests of its
own, quick ones first. A mutant is killed where they fail, and --save says by which test; one that takes three times as long is counted by
itself, since the machine may have been busy, and --again runs it anew. What is argued about the survivors stands in
docs/explanation/mutants.md.
"""

from __future__ import annotations

import argparse
import difflib
import json
import multiprocessing
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[2]

TESTS = {
    "keys": ["tests/test_keys.py"],
    "translate": ["tests/test_translate.py"],
    "conditional": ["tests/test_conditional.py"],
    "lock": ["tests/test_lock.py"],
    "checksum": ["tests/test_checksum.py"],
    "metadata": ["tests/test_metadata.py"],
    "errors": ["tests/test_errors.py"],
    "signing": ["tests/test_signing.py"],
}
"""The test files to run for the mutants of each module."""

ONE_TEST = 60
"""The time limit of a test in seconds, twenty times the slowest: some mutants loop endlessly or deadlock."""

TAKEN = re.compile(
    r"core/(AddNot|NumberReplacer|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr|ReplaceOrWithAnd|RemoveDecorator"
    r"|ReplaceBreakWithContinue|ReplaceContinueWithBreak|ZeroIterationForLoop|ExceptionReplacer|ReplaceUnaryOperator_(Delete_Not|USub_UAdd)"
    r"|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul|Mod_Mul|Pow_Mul|FloorDiv_Mul)"
    r"|ReplaceComparisonOperator_(Eq_(NotEq|LtE|GtE)|NotEq_(Eq|Lt|Gt)|Is_IsNot|IsNot_Is|(Lt|LtE|Gt|GtE)_(Lt|LtE|Gt|GtE|Eq|NotEq)))"
)
"""Operators taken. ``|`` stands in annotations only."""


def path_of(module: str) -> Path:
    """Return the file of a module, whichever package it is in."""
    [found] = (ROOT / "messageflux_s3").rglob(f"{module}.py")
    return found


@dataclass(frozen=True)
class Mutant:
    """One change: the n-th occurrence of an operator in a module."""

    module: str
    operator: str
    occurrence: int
    line: int

    @property
    def path(self) -> Path:
        return path_of(self.module).relative_to(ROOT)


def mutants_of(module: str) -> list[Mutant]:
    """Return every change that the selected operators can make."""
    source = path_of(module).read_text()
    tree = get_ast(source)
    found: list[Mutant] = []
    for name in sorted(operator_names()):
        if TAKEN.fullmatch(name):
            operator = get_operator(name)()
            places = (start for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node))
            found += [Mutant(module, name, number, line) for number, (line, _) in enumerate(places)]
    return found


def copied_tree(folder: Path) -> Path:
    """Copy the working tree without files that git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    return folder


def run_tests(module: str, folder: Path, limit: float, *, is_changed: bool = True) -> tuple[str, str]:
    """``passed``, ``failed`` or ``timeout``, and what pytest says of the first test that did not pass.

    Unchanged, it leaves behind what pytest compiled.
    """
    with tempfile.NamedTemporaryFile() as output:
        process = FORKS.Process(target=_pytest, args=(TESTS[module], folder, output.name, is_changed))
        process.start()
        process.join(limit)
        if process.is_alive():
            with suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
            return "timeout", ""
        lines = output.read().decode(errors="replace").splitlines()
    if process.exitcode == 0:
        return "passed", ""
    noticed = next((line for line in lines if line.startswith(("FAILED ", "ERROR "))), lines[-1] if lines else "")
    return "timeout" if any("Timeout (>" in line or "+ Timeout +" in line for line in lines) else "failed", noticed


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["cosmic_ray.mutating", "cosmic_ray.plugins", "pytest", "hypothesis.strategies", "boto3", "botocore.session"]
)
"""Each run is a fork of a process that has loaded what does not change: half of the time it would take otherwise."""


def _pytest(tests: list[str], folder: Path, output: str, is_changed: bool) -> None:
    """Run them in a process (and a group of processes) of its own."""
    os.setsid()
    os.chdir(folder)
    target = os.open(output, os.O_WRONLY | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    sys.dont_write_bytecode = is_changed
    os._exit(pytest.main(["-q", "-x", "-rfE", "--tb=no", "-p", "no:cacheprovider", f"--timeout={ONE_TEST}", *tests]))


def changed(mutant: Mutant) -> tuple[str, str]:
    """The module's text with the change in it, and the change as a diff."""
    source = (ROOT / mutant.path).read_text()
    try:
        mutated = mutate_code(source, get_operator(mutant.operator)(), mutant.occurrence)
    except AttributeError:  # cosmic-ray cannot replace an exception that is named with its module
        mutated = source
    lines = difflib.unified_diff(source.splitlines(), mutated.splitlines(), lineterm="", n=0)
    return mutated, "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


def tried(mutant: Mutant, mutated: str, folder: Path, limit: float) -> tuple[str, str]:
    """The result for a mutant, and which test killed it."""
    target = folder / mutant.path
    source = target.read_text()
    target.write_text(mutated)
    try:
        return run_tests(mutant.module, folder, limit)
    finally:
        target.write_text(source)


def killed_in(path: Path | None) -> dict[tuple[str, str, str], tuple[str, str]]:
    """What failed in a former run: the same change of the same words. Tests only become more; a time-out may have been a busy machine's."""
    entries = json.loads(path.read_text()) if path else []
    known = {
        (entry["mutant"]["module"], entry["mutant"]["operator"], entry["diff"]): (entry["said"], entry["by"])
        for entry in entries
    }
    for entry in entries:
        if entry["said"] in ("passed", "timeout"):  # of several places that read the same, one survived
            known.pop((entry["mutant"]["module"], entry["mutant"]["operator"], entry["diff"]), None)
    return known


def _is_a_change(mutated: str) -> bool:
    """Leave out changes that are not valid Python, and the ``*`` of a signature."""
    try:
        compile(mutated, "mutated", "exec")
    except SyntaxError:
        return False
    return re.search(r"[ (]/,", mutated) is None


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutation testing of the modules that decide.")
    parser.add_argument("modules", nargs="*", default=[], help=f"of {', '.join(TESTS)}; all of them without")
    parser.add_argument("--share", type=float, default=1.0, help="which share of the mutants, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--save", type=Path, help="write what became of each as JSON")
    parser.add_argument("--again", type=Path, help="a file that --save wrote: what was killed there is not run again")
    options = parser.parse_args()
    modules = options.modules or list(TESTS)
    os.environ["CI"] = "true"  # so that hypothesis draws the same examples for every mutant
    chosen = [mutant for module in modules for mutant in drawn(mutants_of(module), options.share, options.seed)]
    known = killed_in(options.again)
    told: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="mfs3-mutants-") as scratch, ThreadPoolExecutor(options.jobs) as executor:
        folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(options.jobs):
            folders.put(copied_tree(Path(scratch, str(number))))
        limits = dict(limits_of(modules, Path(scratch, "0")))

        def test(mutant: Mutant) -> tuple[Mutant, str, str, str]:
            mutated, diff = changed(mutant)
            said, by = known.get((mutant.module, mutant.operator, diff)) or (
                "" if diff and _is_a_change(mutated) else "none",
                "",
            )
            if not said:
                folder = folders.get()
                try:
                    said, by = tried(mutant, mutated, folder, limits[mutant.module])
                finally:
                    folders.put(folder)
            return mutant, said, by, diff

        for mutant, said, by, diff in executor.map(test, chosen):
            told.append({"mutant": asdict(mutant), "said": said, "by": by, "diff": diff})
            if said in ("passed", "timeout"):
                what = "survived" if said == "passed" else "took too long with"
                print(f"\n{mutant.path}:{mutant.line} {what} {mutant.operator}\n{diff}", flush=True)
            if options.save:
                options.save.write_text(json.dumps(told, indent=1))
    print(f"\n{'module':<14}{'mutants':>8}{'killed':>8}{'timeout':>8}{'survived':>9}")
    for module in modules:
        said = [entry["said"] for entry in told if entry["mutant"]["module"] == module and entry["said"] != "none"]  # type: ignore[index]
        print(f"{module:<14}{len(said):>8}{said.count('failed'):>8}{said.count('timeout'):>8}{said.count('passed'):>9}")
    return 0


def drawn(mutants: list[Mutant], share: float, seed: int) -> list[Mutant]:
    """Return a share of the mutants in order, the same for the same seed."""
    sample = random.Random(seed).sample(range(len(mutants)), round(len(mutants) * share))
    return [mutants[number] for number in sorted(sample)]


def limits_of(modules: list[str], folder: Path) -> Iterator[tuple[str, float]]:
    """Return three times the duration of the tests on the unchanged tree, plus a reserve; the tests must pass first."""
    for module in modules:
        began = time.monotonic()
        said, by = run_tests(module, folder, 600, is_changed=False)
        if said != "passed":
            raise SystemExit(f"the tests of {module} fail without any change: {by or said}")
        yield module, 30 + 3 * (time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
