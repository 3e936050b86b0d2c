"""The command line: running its commands, and their exit status; how results are printed is in printing.py."""

import argparse
import errno
import io
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hubpkg import arguments, interrupts, printing
from hubpkg.errors import HubpkgError, HubpkgWarning, IntegrityError

_POLICY_KEYS = ("tries", "stall_seconds", "offline", "allow_http", "allow_short_digest")  # of transport.Policy
_RUN_KEYS = ("engine", "batch_size", "workers", "msrun")  # of job.Job
_FINDING, _INTERRUPTED, _PIPE_CLOSED = 1, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (default: the process's); give the exit status."""
    received = interrupts.catch()
    _prepare()
    options = arguments.parser(_COMMANDS).parse_args(argv)
    options.arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", HubpkgWarning)
            warnings.showwarning = lambda message, *_: printing.say(f"hubpkg: warning: {message}")
            _check_workers(options)
            status: int = options.run(options)
        sys.stdout.flush()
        if "MS_ROLE" in os.environ:
            from hubpkg import job

            job.tell_launcher()
    except BrokenPipeError:  # whoever read the output has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except (Exception, KeyboardInterrupt) as error:
        # After an interrupt each error is told as one: imports, native code and worker processes turn it into others.
        if received or isinstance(error, KeyboardInterrupt):
            interrupts.release(received)
            printing.say(f"hubpkg: interrupted{'; finished stages are kept' if options.run in _WITH_STAGES else ''}")
            return _INTERRUPTED
        if (reason := _reason(error)) is None:
            raise
        printing.say(f"hubpkg: error: {reason}")
        return arguments.UNUSABLE
    return status


def _reason(error: BaseException) -> str | None:
    """What a person has to know of ``error``; None if it is a defect of hubpkg, for which its traceback is wanted."""
    if isinstance(error, HubpkgError):
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return (
            f"expected the module {error.name}, which this command needs, found none; install it with: "
            "pip install 'hubpkg[build]', or 'hubpkg[runtime]' beside a MindSpore of your own"
        )
    if isinstance(error, OSError):
        hints = {
            errno.ENOSPC: "free some space, here or where HUBPKG_CACHE points, and ",
            errno.EACCES: "have it made yours to read and write, or name another, and ",
        }
        name, hint = error.filename2 or error.filename or "writing", hints.get(error.errno or 0, "")
        return f"{name}: {error.strerror or error}; {hint}run the command again"
    return None


def _prepare() -> None:
    """Set up the process's streams, and how much MindSpore says."""
    for stream in (sys.stdout, sys.stderr):  # a terminal of another encoding shows what it can
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("GLOG_v", "4")  # MindSpore raises its errors too; its log would only say them twice


def _check_workers(options: argparse.Namespace) -> None:
    if getattr(options, "msrun", None) and not options.workers:
        raise HubpkgError("--msrun: expected it with --workers, found it alone")
    if "MS_ROLE" in os.environ and options.run not in (_train, _evaluate, _benchmark):
        raise HubpkgError("expected train, evaluate or benchmark under msrun, found another command; see --workers")


def _build(options: argparse.Namespace) -> int:
    from hubpkg import package

    weights: Any
    if options.checkpoint == "train":
        job = _job(options, trains=True)
        weights = _plan(options, resume=None)
    else:
        if options.start:
            raise HubpkgError(f"--from: expected it with --checkpoint train, found {options.checkpoint}")
        job = _job(options)
        weights = package.Weights(options.checkpoint, options.sha256, _policy(options))
    built = package.build(job, weights, options.out)
    result = built.as_json()
    if options.json:
        printing.document(result)
        return 0
    figures, measured = result["performance"], built.contents["evaluation"]
    noun = printing.noun(figures)
    rows = {
        **printing.shares(result["metrics"], result["samples"], noun, measured.get("top1")),
        **printing.own_metrics(measured.get("metrics", {})),
        f"{noun}s": printing.images(built.contents["card"]["dataset"]["evaluated"], built.damaged),
        **printing.performance(figures),
        "package": result["package"],
        "report": result["report"],
    }
    printing.table(result["uid"], rows)
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from hubpkg import cache, fetch

    policy = _policy(options)
    try:
        path = fetch.fetch(options.urls, options.sha256, policy, printing.say)
        sha256 = path.name
        if options.out is not None:
            path = cache.deliver(path, options.out, sha256)
    except IntegrityError as error:
        printing.say(f"hubpkg: error: {error}")
        return _FINDING
    if options.json:
        printing.document({"path": str(path), "sha256": sha256, "size": path.stat().st_size})
    else:
        print(path)
    return 0


def _policy(options: argparse.Namespace) -> Any:
    from dataclasses import replace

    from hubpkg.transport import Policy

    given = {key: value for key, value in vars(options).items() if key in _POLICY_KEYS and value is not None}
    return replace(Policy.from_environment(), **given)


def _cache(options: argparse.Namespace) -> int:
    from hubpkg import cache

    if options.days is not None and options.action != "prune":
        raise HubpkgError(f"--days: expected it with prune, found it with {options.action}")
    if options.action == "dir":
        printing.lines(options, {"path": cache.get_hub_dir()}, [cache.get_hub_dir()])
    elif options.action == "verify":
        count, damaged = cache.verify()
        rows = [f"{name}: damaged, set aside" for name in damaged]
        printing.lines(options, {"files": count, "damaged": damaged}, [*rows, f"{count} files, {len(damaged)} damaged"])
        return _FINDING if damaged else 0
    else:
        days = arguments.PRUNE_DAYS if options.days is None else options.days
        found = cache.prune(days) if options.action == "prune" else cache.entries()
        rows = [
            f"{entry.kind:8} {entry.size:>15,} {datetime.fromtimestamp(entry.used, UTC):%Y-%m-%d} {entry.name}"
            for entry in found
        ]
        total = sum(entry.size for entry in found)
        verb = "removed from" if options.action == "prune" else "in"
        rows.append(f"{len(found)} entries, {total:,} bytes {verb} {cache.get_hub_dir()}")
        printing.lines(options, [entry.as_json() for entry in found], rows)
    return 0


def _init(options: argparse.Namespace) -> int:
    from hubpkg import scaffold

    given = {key: getattr(options, key.replace("-", "_")) for key in (*arguments.PUBLICATION_KEYS, *scaffold.QUESTIONS)}
    given = {key: value for key, value in given.items() if value is not None}
    made = scaffold.make(options.name, given, options.start, options.out, None if options.yes else _ask)
    result = scaffold.as_json(made)
    missing = [f"missing: {sentence}" for sentence in made.missing]
    hint = [] if options.out == Path("models") else [f"HUBPKG_MODELS={shlex.quote(str(options.out))} "]
    printing.lines(options, result, [*missing, str(made.folder)])
    printing.say(f"init: change what is in {made.folder}; build it with: {''.join(hint)}hubpkg build {options.name}")
    return 0


def _ask(question: str, default: str) -> str:
    """The answer to ``question`` on standard input; the question goes to where progress goes."""
    print(f"{question} [{default}]: ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    if not answer:
        raise HubpkgError("expected an answer on standard input, found its end; give the options, or --yes")
    return answer


def _train(options: argparse.Namespace) -> int:
    from hubpkg import trainer

    result = trainer.train(_job(options, trains=True), _plan(options, resume=options.resume), options.out)
    if result is None:  # another process of the group prints it
        return 0
    if options.json:
        printing.document(result)
    else:
        print(result["checkpoint"])
    return 0


def _plan(options: argparse.Namespace, *, resume: bool | None) -> Any:
    from hubpkg import trainer

    return trainer.Plan(None if options.start is None else trainer.find_start(options.start), resume)


def _evaluate(options: argparse.Namespace) -> int:
    from hubpkg import evaluator, recipe

    job = _job(options)
    result = evaluator.evaluate(job, options.checkpoint, options.out)
    if result is None:  # another process of the group prints it
        return 0
    if options.json:
        printing.document(result)
        return 0
    noun = recipe.noun(job.spec.recipe)
    unit = "img/s" if noun == "image" else "samples/s"
    rate = f"{result['images_per_second']:.1f} {unit}" if result["images_per_second"] else "none"
    if result["resumed"]:
        rate += f"; {result['resumed']} {noun}s were done before, by a run that was stopped"
    printing.table(
        str(options.checkpoint),
        {
            **printing.shares(result["metrics"], result["samples"], noun),
            **printing.own_metrics(result.get("own_metrics", {})),
            **({"close": printing.close(result["close"], noun)} if "top1" in result["metrics"] else {}),
            f"{noun}s": printing.images(result["evaluated"], result["damaged"]),
            "engine": printing.engine(result["engine_facts"]),
            "rate": rate,
            "predictions": result["predictions"],
        },
    )
    return 0


def _benchmark(options: argparse.Namespace) -> int:
    from hubpkg import benchmark, spec
    from hubpkg.job import Job

    model = spec.read_spec(options.model, options.dataset)
    job = Job(model, None, options.device, printing.say, workers=options.workers or 1, msrun=options.msrun or "")
    keys = ("image_size", "batch_size", "jit_level", "precision", "engine")
    setting = benchmark.Setting(**{key: value for key in keys if (value := getattr(options, key)) is not None})
    key, values = options.sweep or (None, [])
    if key is not None and getattr(setting, benchmark.SWEEPS[key]) is not None:
        raise HubpkgError(f"--{key}: expected it alone or as --sweep {key}=..., found both")
    result: dict[str, Any] | None
    if job.workers > 1 and "MS_ROLE" not in os.environ:
        result = benchmark.in_workers(job, key, options.out, options.arguments)
    elif key is None:
        result = benchmark.benchmark(job, setting, options.out)
    else:
        result = benchmark.sweep(job, setting, key, values, options.out)
    if result is None:
        return 0
    if options.json:
        printing.document(result)
        return 0
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items() if value is not None)
    rows = printing.performance(result["performance"]) if options.sweep is None else dict(printing.sweep(result))
    files: dict[str, str] = {name: str(result[name]) for name in ("csv", "plot", "timing") if name in result}
    title = f"{result['model']}, by its recipe for {result['dataset']}"
    printing.table(title, {**rows, "machine": machine.replace("_", " "), **files})
    return 0


def _verify(options: argparse.Namespace) -> int:
    from hubpkg import verification

    if options.sample is not None and not options.rerun:
        raise HubpkgError("--sample: expected it with --rerun, found it alone")
    policy = _signers(options)
    packages = options.packages or _packages_in(Path("dist"))
    for path in packages:
        _expect_folder(path)
    fetching = _policy(options) if options.online else None
    results: list[verification.Verification] = []
    try:
        for path in packages:
            result = verification.verify(path)
            if policy is not None:
                from hubpkg import signers

                result = signers.verify(result, policy)
            if options.rerun and result.ok:
                from hubpkg import rerun

                given = (options.data_dir, options.device, options.engine, options.skip_damaged, options.sample)
                where = rerun.Where(*given, printing.say)
                result = rerun.verify(result, where)
            if fetching is not None and result.ok:
                from hubpkg import assets

                result = assets.verify(result, fetching)
            results.append(result)
            if not options.json:
                print(f"{path}: {'verified' if result.ok else 'NOT VERIFIED'}")
                for check in result.checks:
                    print(f"  {'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}")
    finally:  # what was found of those before one that can't be verified here
        if options.json and results:
            documents = [result.as_json() for result in results]
            printing.document(documents[0] if len(packages) == 1 else documents)
    return 0 if all(result.ok for result in results) else _FINDING


def _report(options: argparse.Namespace) -> int:
    from hubpkg import report

    documents, fine = [], True
    for package in options.packages or _packages_in(Path("dist")):
        _expect_folder(package)
        path, verified = report.make(package)
        for check in verified.checks:
            if not check.ok:
                printing.say(f"{package}: FAIL {check.name}: {check.detail}")
        documents.append({"package": str(package), "report": str(path), "ok": verified.ok})
        fine = fine and verified.ok
    document = documents[0] if len(documents) == 1 else documents
    printing.lines(options, document, [str(each["report"]) for each in documents])
    return 0 if fine else _FINDING


def _site(options: argparse.Namespace) -> int:
    from hubpkg import site

    site.check_out(options.folder, options.out)
    made = site.read(options.folder)
    for each in made.left_out:
        printing.say(str(each))
    site.write(made, options.out, printing.say)
    counts = {"verified": made.count("verified"), "not_verified": made.count("failed"), "cards": made.count("card")}
    row = (
        f"{options.out}: packages: {counts['verified']}, that do not verify: {counts['not_verified']}, "
        f"cards alone: {counts['cards']}"
    )
    printing.lines(options, {"site": str(options.out), **counts, "left_out": list(map(str, made.left_out))}, [row])
    return 0


def _serve(options: argparse.Namespace) -> int:
    from hubpkg.server import Server

    server = Server(options.folder, options.port, printing.say)
    printing.lines(options, {"url": server.url}, [server.url])
    sys.stdout.flush()
    server.run()
    return 0


def _signers(options: argparse.Namespace) -> Any:
    """Whose signature counts; None if it was not asked for."""
    if options.public_key is None and options.policy is None:
        return None
    from hubpkg import signers

    return signers.of_key(options.public_key) if options.public_key else signers.read(options.policy)


def _sign(options: argparse.Namespace) -> int:
    from hubpkg import signature, verification

    if (options.private_key is None) is not options.sigstore:
        raise HubpkgError("expected one of --private-key FILE and --sigstore, found both or none")
    if options.sigstore and (options.certificate or options.chain):
        raise HubpkgError("--certificate: expected it with --private-key, found it with --sigstore")
    if options.chain and not options.certificate:
        raise HubpkgError("--chain: expected it with --certificate, found it alone")
    if options.trust_config and not options.sigstore:
        raise HubpkgError("--trust-config: expected it with --sigstore, found it without")
    _expect_folder(options.package)
    if not _verified(options, verification.verify(options.package), "not signed"):
        return _FINDING
    chain = tuple(options.chain)
    credentials = signature.Credentials(options.private_key, options.certificate, chain, options.trust_config)
    path = signature.sign(options.package, credentials)
    printing.lines(options, {"package": str(options.package), "signature": str(path)}, [str(path)])
    return 0


def _publish(options: argparse.Namespace) -> int:
    from hubpkg import publication, revision
    from hubpkg.transport import Policy

    if options.hub is None and options.to is None:
        raise HubpkgError("expected --hub CHECKOUT, --to DIR|URL or both, found neither")
    for name, given, needed in (
        ("--asset-base-url", options.asset_base_url, options.to),
        ("--branch", options.branch, options.hub),
        ("--replace", options.replace, options.hub),
    ):
        if given and needed is None:
            raise HubpkgError(
                f"{name}: expected it with {'--to' if name == '--asset-base-url' else '--hub'}, found none"
            )
    revision.recover(options.package, printing.say)
    _expect_folder(options.package)
    where = (options.hub, options.branch, options.replace, options.to, options.asset_base_url)
    try:
        checked, result = publication.publish(
            publication.Order(options.package, *where, Policy.from_environment(), printing.say)
        )
    except IntegrityError as error:
        printing.say(f"hubpkg: error: {error}")
        return _FINDING
    if not _verified(options, checked, "not published") or result is None:
        return _FINDING
    if options.json:
        printing.document(result)
        return 0
    read = "read back from the card's links" if result["published"] else "not read back from the card's links; see --to"
    rows = {"assets": f"{len(result['assets'])}, {read}"}
    if options.hub is not None:
        push = shlex.join(["git", "-C", str(options.hub), "push", "origin", result["branch"]])
        made = f"{result['branch']}, commit {result['commit']}; send it with: {push}"
        rows |= {
            "cards": ", ".join(result["cards"]),
            "branch": made if result["commit"] else "none: the checkout's newest commit has these cards already",
            "request": result["pull_request"],
        }
    printing.table(result["uid"], rows)
    return 0


def _cards(options: argparse.Namespace) -> int:
    from hubpkg import cards, manifest, verification

    _expect_folder(options.package)
    if not _verified(options, verification.verify(options.package), "no card made of it"):
        return _FINDING
    contents = manifest.read(options.package / manifest.NAME)
    if options.check:
        faults = cards.compare(options.kind, contents, options.out)
        for fault in faults:
            printing.say(fault)
        name = options.out / cards.render(options.kind, contents)[0]
        printing.lines(
            options,
            {"card": str(name), "ok": not faults},
            [f"{name}: {'differs' if faults else 'as the package has it'}"],
        )
        return _FINDING if faults else 0
    path = cards.write(options.kind, contents, options.out, replace=options.replace)
    printing.lines(options, {"card": str(path)}, [str(path)])
    return 0


def _convert(options: argparse.Namespace) -> int:
    from hubpkg import conversion, spec

    model = spec.read_spec(options.model, options.dataset)
    result = conversion.convert(model, options.file, options.out, options.device, printing.say)
    if options.json:
        printing.document(result)
        return 0
    arguments = ", ".join(f"{key}={value}" for key, value in result["arguments"].items())
    rows = {
        "sha256": result["sha256"],
        "parameters": str(result["parameters"]),
        **({"network": f"create_network({model.name!r}, ..., {arguments})"} if arguments else {}),
    }
    printing.table(result["checkpoint"], rows)
    return 0


def _export(options: argparse.Namespace) -> int:
    from hubpkg import exporter, exports, revision, verification

    formats = exports.chosen(options.format)
    revision.recover(options.package, printing.say)
    _expect_folder(options.package)
    if not _verified(options, verification.verify(options.package), "nothing exported"):
        return _FINDING
    listed = exporter.export(options.package, formats, options.device, printing.say)
    rows = [str(options.package / entry["file"]) for entry in listed]
    printing.lines(options, {"package": str(options.package), "exports": listed}, rows)
    return 0


def _verified(options: argparse.Namespace, result: Any, otherwise: str) -> bool:
    """Whether the package verifies; says what is wrong, and what is not done with it."""
    package = options.package
    if options.json and not result.ok:
        printing.document(result.as_json())
    for check in result.checks:
        if not check.ok:
            printing.say(f"{package}: FAIL {check.name}: {check.detail}")
    if not result.ok:
        printing.say(f"hubpkg: error: {package}: {otherwise}, since it does not verify")
    return bool(result.ok)


def _expect_folder(path: Path) -> None:
    from hubpkg import manifest

    if not path.is_dir():
        found = "none"
        if path.exists():
            folder = path.parent
            is_package, has_some = (folder / manifest.NAME).exists(), any(folder.glob(f"*/{manifest.NAME}"))
            hint = f"; its folder is {folder}" if is_package else f"; folders are {folder}/*/" if has_some else ""
            found = f"a file{hint}"
        raise HubpkgError(f"{path}: expected a package's folder, found {found}")


def _lint(options: argparse.Namespace) -> int:
    from hubpkg.lint import command

    return command.lint(options, printing.say)


def _explain(options: argparse.Namespace) -> int:
    from hubpkg.lint import explanation

    if options.json:
        printing.document([explanation.as_json(rule) for rule in explanation.find(options.rules, every=options.all)])
    else:
        print(explanation.page(options.rules, every=options.all), end="")
    return 0


def _completion(options: argparse.Namespace) -> int:
    try:
        import shtab
    except ModuleNotFoundError:
        raise HubpkgError("expected shtab, found none; install it with: pip install 'hubpkg[completion]'") from None
    parser = arguments.parser(_COMMANDS)
    for command in _commands(parser):
        for action in command._actions:  # noqa: SLF001 - argparse has no other way to them
            kind = {
                "DIR": shtab.DIRECTORY,
                "FILE": shtab.FILE,
                "PATH": shtab.FILE,
                "PACKAGE": shtab.DIRECTORY,
                "DIST": shtab.DIRECTORY,
            }.get(str(action.metavar))
            if kind is not None:
                action.complete = kind  # type: ignore[attr-defined]
    print(shtab.complete(parser, options.shell))
    return 0


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser and those of its commands, and of theirs."""
    yield parser
    for action in parser._actions:  # noqa: SLF001 - as above
        for command in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():  # noqa: SLF001
            yield from _commands(command)


def _packages_in(dist: Path) -> list[Path]:
    found = sorted(path for path in dist.glob("*") if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise HubpkgError(f"expected a package, or packages in ./{dist}, found none; make one with: hubpkg build MODEL")
    return found


def _job(options: argparse.Namespace, *, trains: bool = False) -> Any:
    from hubpkg import spec
    from hubpkg.job import Job

    given = {key: getattr(options, key.replace("-", "_"), None) for key in arguments.PUBLICATION_KEYS}
    overrides = {key: value for key, value in given.items() if value is not None}
    settings, devices = dict(getattr(options, "set", ())), None
    if trains:
        under_msrun = "MS_ROLE" in os.environ
        if under_msrun and options.workers:
            raise HubpkgError("--workers: expected it without msrun, which has --worker_num, found both")
        devices = int(os.environ["MS_WORKER_NUM"]) if under_msrun else options.workers or 1
    model = spec.read_spec(options.model, options.dataset, overrides, settings, devices)
    run = {key: value for key, value in vars(options).items() if key in _RUN_KEYS and value is not None}
    return Job(model, options.data_dir, options.device, printing.say, options.skip_damaged, **run)


_COMMANDS: Mapping[str, arguments.Command] = {
    "init": _init,
    "build": _build,
    "verify": _verify,
    "sign": _sign,
    "publish": _publish,
    "train": _train,
    "evaluate": _evaluate,
    "benchmark": _benchmark,
    "lint": _lint,
    "explain": _explain,
    "report": _report,
    "site": _site,
    "serve": _serve,
    "cards": _cards,
    "export": _export,
    "convert": _convert,
    "fetch": _fetch,
    "cache": _cache,
    "completion": _completion,
}

_WITH_STAGES = (_build, _train, _evaluate, _benchmark, _verify)
