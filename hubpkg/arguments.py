"""What the command line takes: its commands, their arguments, and the help on them."""

import argparse
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from hubpkg import __version__

PUBLICATION_KEYS = ("author", "user-id", "publisher", "repo-link", "asset-base-url")  # of model.yaml
PRUNE_DAYS = 30
UNUSABLE = 2  # exit status: the command line, the input or the environment can't be used
_ENGINE_HELP = "mindspore or onnxruntime (default: the faster)"
_PACKAGE_HELP = "a package's folder, which must verify"
_PACKAGES_HELP = "a package's folder (default: each one in ./dist)"

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"{self.prog}: error: {message}; see: {self.prog} --help\n")


def parser(run: Mapping[str, Command]) -> argparse.ArgumentParser:
    """The parser of the command line, whose namespace has the function of ``run`` for the command, as ``run``."""
    made = _Parser(
        prog="hubpkg", description="Build, verify and load MindSpore Hub packages whose every figure was measured."
    )
    made.add_argument("--version", action="version", version=f"hubpkg {__version__}")
    commands = made.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, (description, add_arguments) in _COMMANDS.items():
        command = commands.add_parser(name, help=description, description=f"{description[0].upper()}{description[1:]}.")
        command.set_defaults(run=run[name])
        command.add_argument("--json", action="store_true", help="print one JSON document")
        add_arguments(command)
    return made


def _add_init_arguments(init: argparse.ArgumentParser) -> None:
    init.add_argument("name", metavar="NAME", help="the model's, lower-case, as the hub has them")
    init.add_argument(
        "--from", dest="start", type=Path, metavar="CARD", help="start from a hub card; print what it lacks"
    )
    init.add_argument("--yes", action="store_true", help="ask nothing, and take what is not given as it is")
    init.add_argument(
        "--out", type=Path, default=Path("models"), metavar="DIR", help="folder of models (default: models)"
    )
    for key in ("title", "summary", "license", *PUBLICATION_KEYS):
        init.add_argument(f"--{key}", metavar="TEXT", help=f"{key} in model.yaml")


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
    _add_out_argument(build, "the package", "dist")
    for key in PUBLICATION_KEYS:
        build.add_argument(f"--{key}", metavar="TEXT", help=f"{key} of this package (default: model.yaml's)")


def _add_train_arguments(train: argparse.ArgumentParser) -> None:
    _add_job_arguments(train)
    _add_training_arguments(train)
    train.add_argument("--resume", action="store_true", help="go on where the same training was stopped")
    _add_worker_arguments(train, "processes that train together, each with a device and batches of its own")
    _add_out_argument(train, "checkpoints, log, curves and facts", "runs")


def _add_evaluate_arguments(evaluate: argparse.ArgumentParser) -> None:
    _add_job_arguments(evaluate)
    evaluate.add_argument("--checkpoint", type=Path, required=True, metavar="FILE", help="the checkpoint")
    _add_set_argument(evaluate)
    _add_engine_argument(evaluate, _ENGINE_HELP)
    evaluate.add_argument(
        "--batch-size", type=_positive, metavar="N", help="images at once, on which no figure depends"
    )
    _add_worker_arguments(evaluate, "processes that share the evaluation")
    _add_out_argument(evaluate, "the predictions", "runs")


def _add_fetch_arguments(fetch: argparse.ArgumentParser) -> None:
    fetch.add_argument("urls", nargs="+", metavar="URL", help="where the file is; more than one are tried in order")
    fetch.add_argument("--sha256", required=True, metavar="HEX", help="the file's SHA-256, 64 hex digits")
    fetch.add_argument("--out", type=Path, metavar="FILE", help="put a copy there, and print its path")
    _add_policy_arguments(fetch)


def _add_cache_arguments(cache: argparse.ArgumentParser) -> None:
    cache.add_argument(
        "action", choices=["list", "verify", "prune", "dir"], metavar="list|verify|prune|dir", help="what to do"
    )
    cache.add_argument(
        "--days",
        type=_days,
        metavar="N",
        help=f"prune: remove what was not used for N days, and what was set aside (default: {PRUNE_DAYS})",
    )


def _add_report_arguments(report: argparse.ArgumentParser) -> None:
    report.add_argument("packages", nargs="*", type=Path, metavar="PACKAGE", help=_PACKAGES_HELP)


def _add_site_arguments(site: argparse.ArgumentParser) -> None:
    _add_folder_argument(site)
    site.add_argument(
        "--out", type=Path, default=Path("site"), metavar="DIR", help="folder that becomes the site (default: site)"
    )


def _add_serve_arguments(serve: argparse.ArgumentParser) -> None:
    _add_folder_argument(serve)
    serve.add_argument("--port", type=int, default=8000, metavar="N", help="on loopback (default: 8000; 0: any)")


def _add_explain_arguments(explain: argparse.ArgumentParser) -> None:
    explain.add_argument("rules", nargs="*", metavar="RULE", help="a rule's code or name, or a family")
    explain.add_argument("--all", action="store_true", help="explain every rule: the page docs/rules.md")


def _add_completion_arguments(completion: argparse.ArgumentParser) -> None:
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"], help="which shell")


def _add_out_argument(parser: argparse.ArgumentParser, what: str, folder: str) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path(folder), metavar="DIR", help=f"folder for {what} (default: {folder})"
    )


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
    _add_out_argument(parser, "samples and plot", "runs")
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
    verify.add_argument("packages", nargs="*", type=Path, metavar="PACKAGE", help=_PACKAGES_HELP)
    verify.add_argument("--rerun", action="store_true", help="load the package and evaluate it again, image by image")
    verify.add_argument(
        "--sample", type=_positive, metavar="N", help="of --rerun: only N images, drawn by the manifest's digest"
    )
    verify.add_argument("--online", action="store_true", help="read the assets from the card's links and compare them")
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
    sign.add_argument("package", type=Path, metavar="PACKAGE", help=_PACKAGE_HELP)
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


def _add_publish_arguments(publish: argparse.ArgumentParser) -> None:
    publish.epilog = (
        "A store is reached by boto3's environment variables, such as AWS_ENDPOINT_URL and AWS_ACCESS_KEY_ID; a "
        "server's user and password are taken from .netrc. HUBPKG_TRIES and HUBPKG_STALL_SECONDS say when to give up."
    )
    publish.add_argument("package", type=Path, metavar="PACKAGE", help=_PACKAGE_HELP)
    publish.add_argument(
        "--hub",
        type=Path,
        metavar="CHECKOUT",
        help="commit the card to a new branch of this checkout of the hub, which is left as it is otherwise; the text "
        "of a pull request is written beside the package",
    )
    publish.add_argument("--branch", metavar="NAME", help="the branch's name (default: add-, and the package's uid)")
    publish.add_argument("--replace", action="store_true", help="let it take the place of a card of the same user-id")
    publish.add_argument(
        "--to",
        metavar="DIR|URL",
        help="put the assets there first: a folder, s3://BUCKET/PREFIX, or a URL that takes PUT; read them back there "
        "and from the card's links, and let card and manifest say so",
    )
    publish.add_argument(
        "--asset-base-url",
        metavar="URL",
        help="where the links lead then (default: the URL of --to, else the package's)",
    )


def _add_cards_arguments(cards: argparse.ArgumentParser) -> None:
    cards.add_argument("package", type=Path, metavar="PACKAGE", help=_PACKAGE_HELP)
    cards.add_argument(
        "--for",
        dest="kind",
        required=True,
        choices=["hub", "cn", "huggingface", "modelscope", "modelers"],
        metavar="HUB",
        help="hub (MindSpore's, as in the package), cn (its Chinese card), huggingface, modelscope or modelers",
    )
    cards.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the card")
    cards.add_argument("--check", action="store_true", help="write nothing; compare the card that is there")
    cards.add_argument("--replace", action="store_true", help="write over another file of its name")


def _add_export_arguments(export: argparse.ArgumentParser) -> None:
    export.add_argument("package", type=Path, metavar="PACKAGE", help=_PACKAGE_HELP)
    export.add_argument(
        "--format",
        default="onnx,mindir,safetensors",
        metavar="FORMAT,..",
        help="onnx (with 'hubpkg[onnxruntime]'), mindir, safetensors (default: all)",
    )
    _add_device_argument(export)


def _add_convert_arguments(convert: argparse.ArgumentParser) -> None:
    _add_model_arguments(convert)
    convert.add_argument("file", type=Path, metavar="FILE", help="*.safetensors, or *.pth where torch is installed")
    convert.add_argument("--out", type=Path, required=True, metavar="FILE", help="the checkpoint, *.ckpt")
    _add_device_argument(convert)


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


# What each command does, in a line of the help, and what adds its arguments.
_COMMANDS: Mapping[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "init": ("write a model's folder that builds at once", _add_init_arguments),
    "build": ("make a package: weights, evidence, card and entrypoint", _add_build_arguments),
    "verify": ("prove packages against their manifest and evidence", _add_verify_arguments),
    "sign": ("sign a package's files; print the signature's path", _add_sign_arguments),
    "publish": ("upload a package's assets; put its card on a hub's branch", _add_publish_arguments),
    "train": ("train a model by its recipe; print the checkpoint's path", _add_train_arguments),
    "evaluate": ("measure a checkpoint's metrics on test samples", _add_evaluate_arguments),
    "benchmark": ("time a model's inference and training on random inputs", _add_benchmark_arguments),
    "lint": ("check cards; no framework, no network", _add_lint_arguments),
    "explain": ("say what a rule of lint finds, and what is right instead", _add_explain_arguments),
    "report": ("make the page that shows a package, beside it", _add_report_arguments),
    "site": ("make a static site of packages and cards", _add_site_arguments),
    "serve": ("show that site on this machine while they change", _add_serve_arguments),
    "cards": ("make a package's card for another hub, or check one", _add_cards_arguments),
    "export": ("add weights as ONNX, MINDIR, safetensors, each compared", _add_export_arguments),
    "convert": ("make a checkpoint of others' weights, by a name map", _add_convert_arguments),
    "fetch": ("bring a file into the cache, verified; print its path", _add_fetch_arguments),
    "cache": ("list, verify or prune the cache, or print its folder", _add_cache_arguments),
    "completion": ("print a shell's completion of this command line", _add_completion_arguments),
}
