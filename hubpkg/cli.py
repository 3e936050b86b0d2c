"""The command line: arguments, printing and exit status; nothing else."""

import argparse
import errno
import io
import json
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from hubpkg import __version__
from hubpkg.errors import HubpkgError, HubpkgWarning, IntegrityError

_PUBLICATION_KEYS = ("author", "user-id", "publisher", "repo-link", "asset-base-url")  # of model.yaml
_POLICY_KEYS = ("tries", "stall_seconds", "offline", "allow_http", "allow_short_digest")  # of transport.Policy
_RUN_KEYS = ("engine", "batch_size", "workers", "msrun")  # of job.Job
_PRUNE_DAYS = 30
_SHOWN = 5  # names in a line; the rest is counted
_ENGINE_HELP = "mindspore or onnxruntime (default: the faster)"
_FINDING, _UNUSABLE, _INTERRUPTED, _PIPE_CLOSED = 1, 2, 130, 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command in ``arguments`` (default: the process's); give the exit status."""
    _prepare()
    options = _parser().parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", HubpkgWarning)
            warnings.showwarning = lambda message, *_: _say(f"hubpkg: warning: {message}")
            _check_workers(options)
            status: int = options.run(options)
        sys.stdout.flush()
    except HubpkgError as error:
        _say(f"hubpkg: error: {error}")
    except ModuleNotFoundError as error:
        _say(
            f"hubpkg: error: expected the module {error.name}, which this command needs, found none; install it with: "
            "pip install 'hubpkg[build]', or 'hubpkg[runtime]' beside a MindSpore of your own"
        )
    except BrokenPipeError:  # whoever read the output has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _PIPE_CLOSED
    except OSError as error:
        hint = "free some space, here or where HUBPKG_CACHE points, and " if error.errno == errno.ENOSPC else ""
        file = error.filename2 or error.filename or "writing"
        _say(f"hubpkg: error: {file}: {error.strerror}; {hint}run the command again")
    except KeyboardInterrupt:
        _say("hubpkg: interrupted; finished stages are kept")
        return _INTERRUPTED
    else:
        return status
    return _UNUSABLE


def _prepare() -> None:
    """Set up the process: its streams, its signals, and how much MindSpore says."""
    for stream in (sys.stdout, sys.stderr):  # a terminal of another encoding shows what it can
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # MindSpore, once it has compiled, answers Ctrl-C by sending itself SIGTERM: both are an interruption. So is closing
    # the terminal, unless nohup has it ignored.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    os.environ.setdefault("GLOG_v", "4")  # MindSpore raises its errors too; its log would only say them twice


def _check_workers(options: argparse.Namespace) -> None:
    if getattr(options, "msrun", None) and not options.workers:
        raise HubpkgError("--msrun: expected it with --workers, found it alone")
    if "MS_ROLE" in os.environ and options.run not in (_train, _evaluate, _benchmark):
        raise HubpkgError("expected train, evaluate or benchmark under msrun, found another command; see --workers")


def _say(line: str) -> None:
    """Print ``line``, which may quote what others wrote, and must not steer the terminal."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in line)
    print(shown, file=sys.stderr, flush=True)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


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
        _print_json(result)
        return 0
    figures, top1 = result["performance"], built.contents["evaluation"]["top1"]
    rows = {
        "top-1": f"{top1['percent']:.2f} % of {result['samples']} images, "
        f"95 % interval {top1['low']:.2f} to {top1['high']:.2f}",
        "top-5": f"{result['metrics']['top5']:.2f} %",
        "images": _images(built.contents["card"]["dataset"]["evaluated"], built.damaged),
        **_performance(figures),
        "package": result["package"],
        "report": result["report"],
    }
    _print_table(result["uid"], rows)
    return 0


def _performance(figures: Mapping[str, Any]) -> dict[str, str]:
    rates = [f"{rate['images_per_second']:.1f} in batches of {rate['batch_size']}" for rate in figures["throughput"]]
    return {
        "parameters": f"{figures['parameters_m']:.2f} M",
        "setting": f"{figures['image_size']}x{figures['image_size']} pixels, jit level {figures['jit_level']}, "
        f"training in {figures['precision']}, inference in {figures['inference_precision']} with {figures['engine']}",
        "compile": f"{figures['compile_seconds']:.1f} s",
        "training": f"{figures['ms_per_step']:.1f} ms/step of {figures['batch_size']} images, "
        f"{figures['images_per_second']:.1f} img/s",
        "latency": f"p50 {figures['latency_p50_ms']:.2f}, p90 {figures['latency_p90_ms']:.2f}, "
        f"p99 {figures['latency_p99_ms']:.2f} ms",
        "throughput": f"img/s {', '.join(rates)}",
        **({"noisy": "; ".join(figures["noise"])} if figures["noise"] else {}),
    }


def _images(evaluated: str, damaged: int) -> str:
    return f"{evaluated}{f', less {damaged} damaged or missing, left out' if damaged else ''}"


def _fetch(options: argparse.Namespace) -> int:
    from hubpkg import cache, fetch

    policy = _policy(options)
    try:
        path = fetch.fetch(options.urls, options.sha256, policy, _say)
        sha256 = path.name
        if options.out is not None:
            path = cache.deliver(path, options.out, sha256)
    except IntegrityError as error:
        _say(f"hubpkg: error: {error}")
        return _FINDING
    if options.json:
        _print_json({"path": str(path), "sha256": sha256, "size": path.stat().st_size})
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
        _print_rows(options, {"path": cache.get_hub_dir()}, [cache.get_hub_dir()])
    elif options.action == "verify":
        count, damaged = cache.verify()
        rows = [f"{name}: damaged, set aside" for name in damaged]
        _print_rows(options, {"files": count, "damaged": damaged}, [*rows, f"{count} files, {len(damaged)} damaged"])
        return _FINDING if damaged else 0
    else:
        days = _PRUNE_DAYS if options.days is None else options.days
        found = cache.prune(days) if options.action == "prune" else cache.entries()
        rows = [
            f"{entry.kind:8} {entry.size:>15,} {datetime.fromtimestamp(entry.used, UTC):%Y-%m-%d} {entry.name}"
            for entry in found
        ]
        total = sum(entry.size for entry in found)
        verb = "removed from" if options.action == "prune" else "in"
        rows.append(f"{len(found)} entries, {total:,} bytes {verb} {cache.get_hub_dir()}")
        _print_rows(options, [entry.as_json() for entry in found], rows)
    return 0


def _print_rows(options: argparse.Namespace, document: Any, rows: Sequence[str]) -> None:
    if options.json:
        _print_json(document)
    else:
        print(*rows, sep="\n")


def _print_table(title: str, rows: Mapping[str, str]) -> None:
    print(title)
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"  {name:{width}}  {value}")


def _train(options: argparse.Namespace) -> int:
    from hubpkg import trainer

    result = trainer.train(_job(options, trains=True), _plan(options, resume=options.resume), options.out)
    if result is None:  # another process of the group prints it
        return 0
    if options.json:
        _print_json(result)
    else:
        print(result["checkpoint"])
    return 0


def _plan(options: argparse.Namespace, *, resume: bool | None) -> Any:
    from hubpkg import trainer

    return trainer.Plan(None if options.start is None else trainer.find_start(options.start), resume)


def _evaluate(options: argparse.Namespace) -> int:
    from hubpkg import evaluator

    result = evaluator.evaluate(_job(options), options.checkpoint, options.out)
    if result is None:  # another process of the group prints it
        return 0
    if options.json:
        _print_json(result)
        return 0
    rate = f"{result['images_per_second']:.1f} img/s" if result["images_per_second"] else "none"
    if result["resumed"]:
        rate += f"; {result['resumed']} images were done before, by a run that was stopped"
    _print_table(
        str(options.checkpoint),
        {
            "top-1": f"{result['metrics']['top1']:.2f} % of {result['samples']} images",
            "top-5": f"{result['metrics']['top5']:.2f} %",
            "close": _close(result["close"]),
            "images": _images(result["evaluated"], result["damaged"]),
            "engine": _engine(result["engine_facts"]),
            "rate": rate,
            "predictions": result["predictions"],
        },
    )
    return 0


def _close(images: Sequence[str]) -> str:
    shown = ", ".join(images[:_SHOWN]) + (", ..." if len(images) > _SHOWN else "")
    return f"{len(images)} images that another engine may count otherwise{f': {shown}' if images else ''}"


def _engine(facts: Mapping[str, Any]) -> str:
    if "compared" not in facts:
        return f"{facts['name']} {facts['version']}"
    return (
        f"{facts['name']} {facts['version']}, like MindSpore on {facts['compared']['images']} images, "
        f"logits within {facts['compared']['largest']:g}"
    )


def _benchmark(options: argparse.Namespace) -> int:
    from hubpkg import benchmark, spec
    from hubpkg.job import Job

    model = spec.read_spec(options.model, options.dataset)
    job = Job(model, None, options.device, _say, workers=options.workers or 1, msrun=options.msrun or "")
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
        _print_json(result)
        return 0
    machine = ", ".join(f"{name} {value}" for name, value in result["machine"].items() if value is not None)
    rows = _performance(result["performance"]) if options.sweep is None else dict(_sweep_rows(result))
    files: dict[str, str] = {name: str(result[name]) for name in ("csv", "plot", "timing") if name in result}
    title = f"{result['model']}, by its recipe for {result['dataset']}"
    _print_table(title, {**rows, "machine": machine.replace("_", " "), **files})
    return 0


def _sweep_rows(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    size = result["sweep"].replace("-", "_")
    for point in result["points"]:
        tokens = f"{point['tokens']:,} tokens, " if size == "image_size" and point["tokens"] else ""
        noise = f"; noisy: {'; '.join(point['noise'])}" if point["noise"] else ""
        times = f"p50 {point['p50_ms']:.2f}, p90 {point['p90_ms']:.2f}, p99 {point['p99_ms']:.2f} ms"
        yield f"{result['sweep']} {point[size]}", f"{tokens}{times}, {point['images_per_second']:.1f} img/s{noise}"
    if "exponent" in result:
        yield "growth", f"ms per image with tokens to the power of {result['exponent']:.2f}"


def _verify(options: argparse.Namespace) -> int:
    from hubpkg import verification

    if options.sample is not None and not options.rerun:
        raise HubpkgError("--sample: expected it with --rerun, found it alone")
    policy = _signers(options)
    packages = options.packages or _packages_in(Path("dist"))
    for path in packages:
        _expect_folder(path)
    results = []
    for path in packages:
        result = verification.verify(path)
        if policy is not None:
            from hubpkg import signers

            result = signers.verify(result, policy)
        if options.rerun and result.ok:
            from hubpkg import rerun

            given = (options.data_dir, options.device, options.engine, options.skip_damaged, options.sample)
            where = rerun.Where(*given, _say)
            result = rerun.verify(result, where)
        results.append(result)
        if not options.json:
            print(f"{path}: {'verified' if result.ok else 'NOT VERIFIED'}")
            for check in result.checks:
                print(f"  {'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}")
    if options.json:
        documents = [result.as_json() for result in results]
        _print_json(documents[0] if len(documents) == 1 else documents)
    return 0 if all(result.ok for result in results) else _FINDING


def _report(options: argparse.Namespace) -> int:
    from hubpkg import report

    documents, fine = [], True
    for package in options.packages or _packages_in(Path("dist")):
        _expect_folder(package)
        path, verified = report.make(package)
        for check in verified.checks:
            if not check.ok:
                _say(f"{package}: FAIL {check.name}: {check.detail}")
        documents.append({"package": str(package), "report": str(path), "ok": verified.ok})
        fine = fine and verified.ok
    document = documents[0] if len(documents) == 1 else documents
    _print_rows(options, document, [str(each["report"]) for each in documents])
    return 0 if fine else _FINDING


def _site(options: argparse.Namespace) -> int:
    from hubpkg import site

    site.check_out(options.folder, options.out)
    made = site.read(options.folder)
    for each in made.left_out:
        _say(str(each))
    site.write(made, options.out, _say)
    counts = {"verified": made.count("verified"), "not_verified": made.count("failed"), "cards": made.count("card")}
    row = (
        f"{options.out}: {counts['verified']} packages, {counts['not_verified']} more that do not verify, "
        f"{counts['cards']} cards alone"
    )
    _print_rows(options, {"site": str(options.out), **counts, "left_out": list(map(str, made.left_out))}, [row])
    return 0


def _serve(options: argparse.Namespace) -> int:
    from hubpkg.server import Server

    server = Server(options.folder, options.port, _say)
    _print_rows(options, {"url": server.url}, [server.url])
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
    result = verification.verify(options.package)
    for check in result.checks:
        if not check.ok:
            _say(f"{options.package}: FAIL {check.name}: {check.detail}")
    if not result.ok:
        _say(f"hubpkg: error: {options.package}: not signed, since it does not verify")
        return _FINDING
    chain = tuple(options.chain)
    credentials = signature.Credentials(options.private_key, options.certificate, chain, options.trust_config)
    path = signature.sign(options.package, credentials)
    _print_rows(options, {"package": str(options.package), "signature": str(path)}, [str(path)])
    return 0


def _expect_folder(path: Path) -> None:
    if not path.is_dir():
        found = f"a file; its folder is {path.parent}" if path.exists() else "none"
        raise HubpkgError(f"{path}: expected a package's folder, found {found}")


def _lint(options: argparse.Namespace) -> int:
    from hubpkg.lint import command

    return command.lint(options, _say)


def _explain(options: argparse.Namespace) -> int:
    from hubpkg.lint import explanation

    if options.json:
        _print_json([explanation.as_json(rule) for rule in explanation.find(options.rules, every=options.all)])
    else:
        print(explanation.page(options.rules, every=options.all), end="")
    return 0


def _completion(options: argparse.Namespace) -> int:
    try:
        import shtab
    except ModuleNotFoundError:
        raise HubpkgError("expected shtab, found none; install it with: pip install 'hubpkg[completion]'") from None
    parser = _parser()
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

    given = {key: getattr(options, key.replace("-", "_"), None) for key in _PUBLICATION_KEYS}
    overrides = {key: value for key, value in given.items() if value is not None}
    settings, devices = dict(getattr(options, "set", ())), None
    if trains:
        under_msrun = "MS_ROLE" in os.environ
        if under_msrun and options.workers:
            raise HubpkgError("--workers: expected it without msrun, which has --worker_num, found both")
        devices = int(os.environ["MS_WORKER_NUM"]) if under_msrun else options.workers or 1
    model = spec.read_spec(options.model, options.dataset, overrides, settings, devices)
    run = {key: value for key, value in vars(options).items() if key in _RUN_KEYS and value is not None}
    return Job(model, options.data_dir, options.device, _say, options.skip_damaged, **run)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(_UNUSABLE, f"{self.prog}: error: {message}; see: {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="hubpkg", description="Build, verify and load MindSpore Hub packages whose every figure was measured."
    )
    parser.add_argument("--version", action="version", version=f"hubpkg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], description: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=description, description=f"{description[0].upper()}{description[1:]}.")
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print one JSON document")
        return added

    build = command("build", _build, "make a package: checkpoint, evaluation, performance, card and entrypoint")
    _add_build_arguments(build)

    train = command("train", _train, "train a model by its recipe; print the checkpoint's path")
    _add_job_arguments(train)
    _add_training_arguments(train)
    train.add_argument("--resume", action="store_true", help="go on where the same training was stopped")
    _add_worker_arguments(train, "processes that train together, each with a device and batches of its own")
    train.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="folder for checkpoints, log, curves and facts (default: runs)",
    )

    evaluate = command("evaluate", _evaluate, "measure a checkpoint's accuracy on a dataset's test images")
    _add_job_arguments(evaluate)
    evaluate.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the checkpoint")
    _add_set_argument(evaluate)
    _add_engine_argument(evaluate, _ENGINE_HELP)
    evaluate.add_argument(
        "--batch-size",
        type=_positive,
        metavar="N",
        help="images at once, on which no figure depends",
    )
    _add_worker_arguments(evaluate, "processes that share the evaluation")
    evaluate.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="DIR", help="folder for the predictions (default: runs)"
    )

    benchmark = command("benchmark", _benchmark, "time a model's inference and training on random images")
    _add_benchmark_arguments(benchmark)

    fetch = command("fetch", _fetch, "bring a file into the cache, verified; print its path there")
    fetch.add_argument("urls", nargs="+", metavar="URL", help="where the file is; more than one are tried in order")
    fetch.add_argument("--sha256", required=True, metavar="HEX", help="the file's SHA-256, 64 hex digits")
    fetch.add_argument("--out", type=Path, metavar="FILE", help="put a copy there, and print its path")
    _add_policy_arguments(fetch)

    cache = command("cache", _cache, "list, verify or prune the cache, or print its folder")
    cache.add_argument(
        "action", choices=["list", "verify", "prune", "dir"], metavar="list|verify|prune|dir", help="what to do"
    )
    cache.add_argument(
        "--days",
        type=_days,
        metavar="N",
        help=f"prune: remove what was not used for N days, and what was set aside (default: {_PRUNE_DAYS})",
    )

    _add_verify_arguments(command("verify", _verify, "prove packages against their manifest, evidence and entrypoint"))
    _add_sign_arguments(
        command("sign", _sign, "sign a package's files; print the signature's path, beside the package")
    )
    report = command("report", _report, "make the page that shows a package, beside it")
    report.add_argument(
        "packages", nargs="*", type=Path, metavar="PACKAGE", help="a package's folder (default: each one in ./dist)"
    )
    site = command("site", _site, "make a static site of packages and cards")
    _add_folder_argument(site)
    site.add_argument(
        "--out", type=Path, default=Path("site"), metavar="DIR", help="folder that becomes the site (default: site)"
    )
    serve = command("serve", _serve, "show that site on this machine, while you edit")
    _add_folder_argument(serve)
    serve.add_argument("--port", type=int, default=8000, metavar="N", help="on loopback (default: 8000; 0: any)")
    _add_lint_arguments(command("lint", _lint, "check cards: format, fields, links, figures; no framework, no network"))
    explain = command("explain", _explain, "say what a rule of lint finds, why, and what is right instead")
    explain.add_argument("rules", nargs="*", metavar="RULE", help="a rule's code or name, or a family")
    explain.add_argument("--all", action="store_true", help="explain every rule: the page docs/rules.md")
    completion = command("completion", _completion, "print a shell's completion of this command line")
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="which shell")
    return parser


def _add_build_arguments(build: argparse.ArgumentParser) -> None:
    build.usage = "%(prog)s [OPTION]... MODEL"  # all of them would fill a screen
    _add_job_arguments(build)
    build.add_argument(
        "--checkpoint",
        default="train",
        metavar="train|fetch|FILE|URL",
        help="train the weights by the recipe (default); fetch those that model.yaml names; or take them from a "
        "checkpoint file, or from a URL, which needs --sha256",
    )
    build.add_argument("--sha256", metavar="HEX", help="SHA-256 of the file or URL given as --checkpoint")
    _add_engine_argument(build, _ENGINE_HELP)
    _add_training_arguments(build)
    _add_worker_arguments(build, "processes that share training and evaluation")
    _add_policy_arguments(build)
    build.add_argument(
        "--out",
        type=Path,
        default=Path("dist"),
        metavar="DIR",
        help="folder that the package is put in (default: dist)",
    )
    for key in _PUBLICATION_KEYS:
        build.add_argument(f"--{key}", metavar="TEXT", help=f"{key} of this package (default: model.yaml's)")


def _days(value: str) -> float:
    days = float(value)
    if not days >= 0:
        raise ValueError
    return days


_days.__name__ = "number of days"  # argparse says it of a value that is none


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "whole number above 0"


def _sweep(value: str) -> tuple[str, list[int]]:
    from hubpkg.benchmark import SWEEPS

    key, _, listed = value.partition("=")
    if key not in SWEEPS:
        raise argparse.ArgumentTypeError(f"expected {' or '.join(f'{known}=...' for known in SWEEPS)}, found {value!r}")
    try:
        values = [_positive(part) for part in listed.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers above 0 with commas between them, such as {key}=16,32,64, found {value!r}"
        ) from None
    return key, sorted(set(values))


def _add_benchmark_arguments(parser: argparse.ArgumentParser) -> None:
    _add_model_arguments(parser)
    parser.add_argument("--image-size", type=_positive, metavar="N", help="height and width (default: the recipe's)")
    parser.add_argument(
        "--batch-size", type=_positive, metavar="N", help="the largest batch (default: the recipe's; 1 in a sweep)"
    )
    parser.add_argument("--jit-level", choices=["O0", "O1", "O2"], help="MindSpore's (default: the recipe's)")
    parser.add_argument(
        "--precision",
        choices=["float32", "float16", "bfloat16"],
        help="default: float32, in training the recipe's",
    )
    parser.add_argument(
        "--sweep",
        type=_sweep,
        metavar="KEY=N,N,...",
        help="time inference at each batch-size or image-size, and draw it",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs"), metavar="DIR", help="folder for samples and plot (default: runs)"
    )
    _add_engine_argument(parser, "time inference with mindspore (default) or onnxruntime")
    _add_worker_arguments(parser, "processes that are timed at once")
    _add_device_argument(parser)


def _options(value: str) -> str:
    shlex.split(value)
    return value


_options.__name__ = "list of options"


def _add_engine_argument(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument("--engine", choices=["mindspore", "onnxruntime"], metavar="NAME", help=help_text)


def _add_worker_arguments(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument("--workers", type=_positive, metavar="N", help=help_text)
    parser.add_argument(
        "--msrun", type=_options, metavar="OPTIONS", help="for msrun, which starts them: --msrun=--bind_core=True"
    )


def _add_training_arguments(parser: argparse.ArgumentParser) -> None:
    _add_set_argument(parser)
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="PACKAGE|FILE",
        help="start from these weights; for other classes the head is new",
    )


def _add_set_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="take another value of a key of the recipe",
    )


def _setting(value: str) -> tuple[str, str]:
    key, equals, text = value.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, such as lr=1e-3, found {value!r}")
    return key, text


def _add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tries", type=int, metavar="N", help="give up after N tries that gain no byte (default: 5)")
    parser.add_argument(
        "--stall-seconds",
        type=float,
        metavar="S",
        help="give up after S seconds without a byte gained (default: 30)",
    )
    for name, help_text in (
        ("--offline", "use the cache alone, and open no connection"),
        ("--allow-http", "accept plain http URLs to other machines"),
        ("--allow-short-digest", "accept a sha256 cut to 8 digits or more; the whole one is then kept in hubpkg.lock"),
    ):
        parser.add_argument(name, action="store_true", default=None, help=help_text)


def _add_verify_arguments(verify: argparse.ArgumentParser) -> None:
    verify.add_argument(
        "packages", nargs="*", type=Path, metavar="PACKAGE", help="a package's folder (default: each one in ./dist)"
    )
    verify.add_argument("--rerun", action="store_true", help="load the package and evaluate it again, image by image")
    verify.add_argument(
        "--sample", type=_positive, metavar="N", help="of --rerun: only N images, drawn by the manifest's digest"
    )
    signer = verify.add_mutually_exclusive_group()
    signer.add_argument("--public-key", type=Path, metavar="FILE", help="whose signature it must have beside it")
    signer.add_argument("--policy", type=Path, metavar="FILE", help="likewise, a file that says whose")
    _add_engine_argument(verify, _ENGINE_HELP)
    _add_run_arguments(verify)


def _add_folder_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("dist"), metavar="DIST", help="packages and cards (default: dist)"
    )


def _add_sign_arguments(sign: argparse.ArgumentParser) -> None:
    sign.add_argument("package", type=Path, metavar="PACKAGE", help="a package's folder, which must verify")
    for name, what in (
        ("--private-key", "elliptic-curve key in PEM; if encrypted, its password is asked for, or read from stdin"),
        ("--certificate", "the key's certificate, which is put in the signature"),
    ):
        sign.add_argument(name, type=Path, metavar="FILE", help=what)
    sign.add_argument(
        "--chain",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a certificate between that one and its authority's; may be given more than once",
    )
    sign.add_argument("--sigstore", action="store_true", help="sign with no key, as whom a browser or CI knows you")
    sign.add_argument("--trust-config", type=Path, metavar="FILE", help="Sigstore's instance (default: the public one)")


def _add_lint_arguments(lint: argparse.ArgumentParser) -> None:
    lint.epilog = "Exit status: 0 nothing found; 1 something found; 2 a path or the configuration can't be used."
    lint.add_argument(
        "paths", nargs="+", metavar="PATH", help="a card, a folder of cards (*.md), or '-' for standard input"
    )
    for name, what in (("--select", "check only these"), ("--ignore", "leave these out too")):
        lint.add_argument(
            name,
            action="append",
            default=[],
            metavar="RULE,..",
            help=f"{what}: codes or their beginnings, names, families, ALL",
        )
    lint.add_argument("--fix", action="store_true", help="mend what is mechanical and safe, in place")
    lint.add_argument("--diff", action="store_true", help="show what --fix would change, and change nothing")
    lint.add_argument(
        "--format",
        choices=["text", "json", "sarif", "github"],
        default="text",
        help="text (default), JSON, SARIF 2.1.0, or annotations of GitHub Actions",
    )
    lint.add_argument("--statistics", action="store_true", help="count the findings of each rule")
    lint.add_argument("--baseline", type=Path, metavar="FILE", help="report only findings that are not in this file")
    lint.add_argument("--update-baseline", action="store_true", help="write the findings to the baseline")
    lint.add_argument("--online", action="store_true", help="request the links, too")
    lint.add_argument("--assets", type=Path, metavar="DIR", help="compare digests with those of the files in DIR")
    lint.add_argument("--checkout", type=Path, metavar="DIR", help="look for repo-link's entrypoint in this clone")
    lint.add_argument(
        "--target",
        choices=["hub", "hubpkg"],
        help="whose rules: what hubpkg promises (default), or what the hub's validator accepts",
    )
    lint.add_argument(
        "--config", type=Path, metavar="FILE", help="a pyproject.toml or hubpkg.toml (default: the nearest)"
    )


def _add_job_arguments(parser: argparse.ArgumentParser) -> None:
    _add_model_arguments(parser)
    _add_run_arguments(parser)


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a folder's name in ./models, HUBPKG_MODELS or hubpkg")
    parser.add_argument("--dataset", metavar="NAME", help="one of the model's datasets (default: model.yaml's)")


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the dataset's files are, if it has files")
    parser.add_argument(
        "--skip-damaged", action="store_true", help="leave damaged or missing images out, and count them"
    )
    _add_device_argument(parser)


def _add_device_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=["CPU", "Ascend"], help="default: the one that MindSpore was built for")
