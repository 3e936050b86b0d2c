"""Signatures: made and checked by hubpkg, and by the command line of model-signing as it comes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from forging import read_manifest, remake, reseal
from keys import certify, make_key, write_pair

from hubpkg import predictions, verification

CARD = "xcit_small_digits.md"
ENTRY = "xcit_small"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A folder with the publisher's key pair, and another's."""
    folder = tmp_path_factory.mktemp("keys")
    make_key(folder, "publisher")
    make_key(folder, "other")
    return folder


@pytest.fixture(scope="module")
def signed_once(here, small_package, keys, tmp_path_factory):
    package = Path(shutil.copytree(small_package, tmp_path_factory.mktemp("signed") / small_package.name))
    done = here("sign", package, "--private-key", keys / "publisher.pem")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{package}.sig\n", "")
    return package


@pytest.fixture
def signed(signed_once, tmp_path):
    """A copy of a signed package, its signature beside it."""
    shutil.copyfile(f"{signed_once}.sig", tmp_path / f"{signed_once.name}.sig")
    return Path(shutil.copytree(signed_once, tmp_path / signed_once.name))


@pytest.fixture
def signature_check(here):
    """Runs ``hubpkg verify`` with a key or a policy; gives the exit status and the check of the signature."""

    def run(package, *options):
        done = here("verify", "--json", package, *options)
        result = json.loads(done.stdout)
        (check,) = [check for check in result["checks"] if check["name"] == "signature"]
        assert done.returncode == (not result["ok"]), done.stderr
        assert result["ok"] is all(check["ok"] for check in result["checks"])
        return done.returncode, check

    return run


def stock(package, keys, *options):
    """Whether model-signing's own command line accepts the signature."""
    command = ["-m", "model_signing", "verify", "key", package, "--signature", f"{package}.sig", *options]
    done = subprocess.run(
        [sys.executable, *command, "--public_key", keys / "publisher.pub"], capture_output=True, text=True, check=False
    )
    assert ("Verification succeeded" in done.stdout) is (done.returncode == 0), done.stderr
    return done.returncode == 0


def test_the_signer_is_named_and_a_signature_alone_is_not_asked_for(signed, keys, signature_check, here):
    status, check = signature_check(signed, "--public-key", keys / "publisher.pub")
    count = len(read_manifest(signed)["files"]) + 1
    assert (status, check["detail"]) == (0, f"{count} files, signed by the key {keys / 'publisher.pub'}")
    assert "signature" not in here("verify", signed).stdout
    Path(f"{signed}.sig").unlink()
    assert here("verify", signed).returncode == 0


def test_it_is_found_wherever_a_package_is_named_from(signed, keys, here):
    for package, cwd in ((".", signed), (signed.name, signed.parent), (f"../{signed.name}/", signed)):
        done = here("verify", package, "--public-key", keys / "publisher.pub", cwd=cwd)
        assert done.returncode == 0, done.stdout


def test_model_signing_s_own_command_line_accepts_it(signed, keys):
    assert stock(signed, keys)
    (signed / CARD).touch()
    assert stock(signed, keys)


def add(name):
    def change(package):
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text("import os\n", encoding="utf-8")

    return change


def flip(name):
    def change(package):
        (file,) = package.glob(name)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)

    return change


def rewrite(package):
    """Better predictions, and all that depends on them made anew: static checks hold."""
    text = (package / predictions.FILE).read_text(encoding="utf-8")
    lines = [line.split(",") for line in text.splitlines()]
    for cells in lines[1:]:
        cells[1] = cells[2]
    (package / predictions.FILE).write_text("\n".join(map(",".join, lines)) + "\n", encoding="utf-8")
    remake(package)


def renew(name):
    def change(package):
        add(name)(package)
        reseal(package)
        assert verification.verify(package).ok

    return change


@pytest.mark.parametrize(
    ("change", "file"),
    [
        (flip(CARD), CARD),
        (flip("*.ckpt"), r"xcit_small-\w{8}\.ckpt"),
        (flip("evidence/timing.json"), "evidence/timing.json"),
        (flip(f"{ENTRY}/mindspore_hub_conf.py"), f"{ENTRY}/mindspore_hub_conf.py"),
        (flip("hubpkg.json"), "hubpkg.json"),
        (add(f"{ENTRY}/json.py"), f"{ENTRY}/json.py"),
        (add(f"{ENTRY}/__pycache__/xcit_small_network.cpython-311.pyc"), f"{ENTRY}/__pycache__/"),
        (lambda package: (package / CARD).unlink(), CARD),
        (rewrite, predictions.FILE),
        (renew(f"{ENTRY}/numpy.py"), f"{ENTRY}/numpy.py"),
        (renew("sitecustomize.py"), "sitecustomize.py"),
    ],
    ids=["card", "weights", "evidence", "code", "manifest", "new", "bytecode", "gone", "rewritten", "pinned", "root"],
)
def test_any_change_is_found_by_hubpkg_and_by_model_signing(change, file, signed, keys, signature_check):
    change(signed)
    status, check = signature_check(signed, "--public-key", keys / "publisher.pub")
    assert (status, check["ok"]) == (1, False)
    assert re.search(rf"(^|; ){file}.*: expected .*, as signed, found ", check["detail"]), check["detail"]
    assert not stock(signed, keys)


def test_git_s_files_are_no_exception(signed, keys, signature_check):
    """model-signing leaves them out unless it is told not to."""
    for name in (".gitignore", ".git/hooks", ".github/x"):
        add(name)(signed)
        assert signature_check(signed, "--public-key", keys / "publisher.pub")[1]["ok"] is False
        assert not stock(signed, keys, "--no-ignore-git-paths")
        shutil.rmtree(signed / name.split("/")[0], ignore_errors=True)
        (signed / name).unlink(missing_ok=True)
    assert stock(signed, keys, "--no-ignore-git-paths")


def test_what_model_signing_s_command_line_signs_is_accepted_too(package, keys, signature_check):
    command = ["-m", "model_signing", "sign", "key", package, "--signature", f"{package}.sig"]
    subprocess.run([sys.executable, *command, "--private_key", keys / "publisher.pem"], check=True, capture_output=True)
    assert signature_check(package, "--public-key", keys / "publisher.pub")[0] == 0


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (None, "found none"),
        (b"", "found another: JSONDecodeError"),
        (b"\xff\x00", "found another: UnicodeDecodeError"),
        (b"[" * 100_000, "found another: RecursionError"),
        (b"{}", "found another: KeyError"),
        (b"null", "found another: TypeError"),
        (b'{"verificationMaterial": {}}', "found another: "),
    ],
    ids=["none", "empty", "bytes", "deep", "object", "null", "short"],
)
def test_what_is_no_signature_is_a_finding(raw, found, signed, keys, signature_check):
    Path(f"{signed}.sig").unlink()
    if raw is not None:
        Path(f"{signed}.sig").write_bytes(raw)
    _, check = signature_check(signed, "--public-key", keys / "publisher.pub")
    assert check["detail"].startswith(f"{signed}.sig: expected a signature of the key {keys / 'publisher.pub'}, ")
    assert found in check["detail"]


@pytest.mark.parametrize("kind", ["directory", "pipe", "link to nothing"])
def test_what_stands_in_the_signature_s_place_is_a_finding(kind, signed, keys, signature_check):
    file = Path(f"{signed}.sig")
    file.unlink()
    {"directory": file.mkdir, "pipe": lambda: os.mkfifo(file), "link to nothing": lambda: file.symlink_to("no")}[kind]()
    _, check = signature_check(signed, "--public-key", keys / "publisher.pub")
    assert check["detail"].endswith("found none")


def test_another_s_signature_is_refused_even_if_it_names_no_key(here, signed, keys, signature_check):
    assert here("sign", signed, "--private-key", keys / "other.pem").returncode == 0
    _, check = signature_check(signed, "--public-key", keys / "publisher.pub")
    assert "found another: ValueError: Key mismatch" in check["detail"]
    file = Path(f"{signed}.sig")
    bundle = json.loads(file.read_bytes())
    del bundle["verificationMaterial"]["publicKey"]["hint"]  # model-signing warns of such ones on stdout
    file.write_text(json.dumps(bundle), encoding="utf-8")
    _, check = signature_check(signed, "--public-key", keys / "publisher.pub")
    assert "found another: InvalidSignature" in check["detail"]


def test_a_changed_statement_under_the_signature_is_refused(signed, keys, signature_check):
    file = Path(f"{signed}.sig")
    bundle = json.loads(file.read_bytes())
    payload = bundle["dsseEnvelope"]["payload"]
    bundle["dsseEnvelope"]["payload"] = payload[:40] + ("A" if payload[40] != "A" else "B") + payload[41:]
    file.write_text(json.dumps(bundle), encoding="utf-8")
    assert signature_check(signed, "--public-key", keys / "publisher.pub")[1]["ok"] is False


def test_a_package_that_cannot_be_hashed_is_a_finding(signed, keys, signature_check):
    os.mkfifo(signed / "pipe")
    _, check = signature_check(signed, "--public-key", keys / "publisher.pub")
    assert "not compared" in check["detail"]


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_the_three_curves_sign(curve, here, package, tmp_path, signature_check):
    make_key(tmp_path, "key", curve())
    assert here("sign", package, "--private-key", tmp_path / "key.pem").returncode == 0
    assert signature_check(package, "--public-key", tmp_path / "key.pub")[0] == 0


def refused(done, *words):
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("hubpkg: error: ")
    for word in words:
        assert word in done.stderr


def test_keys_that_can_not_be_used_are_refused(here, package, keys, tmp_path):
    make_key(tmp_path, "bitcoin", ec.SECP256K1())
    write_pair(tmp_path, "rsa", rsa.generate_private_key(public_exponent=65537, key_size=2048))
    (tmp_path / "text.pem").write_text("text", encoding="utf-8")
    wanted = "expected an elliptic-curve key (prime256v1, secp384r1 or secp521r1) in PEM"
    for name in ("bitcoin", "rsa", "text"):
        refused(here("sign", package, "--private-key", tmp_path / f"{name}.pem"), wanted, f"{name}.pem")
    refused(here("sign", package, "--private-key", keys / "publisher.pub"), wanted)
    refused(here("sign", package, "--private-key", tmp_path / "no.pem"), "--private-key: expected a file, found none")
    assert not Path(f"{package}.sig").exists()
    refused(here("verify", package, "--public-key", tmp_path / "rsa.pub"), wanted, "rsa.pub")
    refused(here("verify", package, "--public-key", tmp_path / "no.pub"), "expected a file, found none")


def test_an_encrypted_key_takes_its_password_from_standard_input(package, tmp_path, signature_check):
    make_key(tmp_path, "key", password=b"open")
    command = [sys.executable, "-m", "hubpkg", "sign", package, "--private-key", tmp_path / "key.pem"]
    for password, status in (("shut", 2), ("open", 0)):
        done = subprocess.run(command, input=f"{password}\n", capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert Path(f"{package}.sig").exists() is (status == 0)
    assert signature_check(package, "--public-key", tmp_path / "key.pub")[0] == 0


def test_what_does_not_verify_is_not_signed_and_an_earlier_signature_stays(here, signed, keys):
    before = Path(f"{signed}.sig").read_bytes()
    flip(CARD)(signed)
    done = here("sign", signed, "--private-key", keys / "publisher.pem")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"FAIL files: {CARD}: sha256: expected " in done.stderr
    assert done.stderr.endswith(f"hubpkg: error: {signed}: not signed, since it does not verify\n")
    assert Path(f"{signed}.sig").read_bytes() == before
    assert sorted(path.name for path in signed.parent.iterdir()) == [signed.name, f"{signed.name}.sig"]


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--private-key", "k", "--sigstore"],
        ["--sigstore", "--certificate", "c"],
        ["--private-key", "k", "--chain", "c"],
        ["--private-key", "k", "--trust-config", "t"],
    ],
    ids=" ".join,
)
def test_ways_to_sign_that_do_not_go_together_are_refused(options, here, package):
    refused(here("sign", package, *options), "expected ", "found ")


def test_the_result_is_one_json_document(here, package, keys):
    done = here("sign", package, "--private-key", keys / "publisher.pem", "--json")
    assert json.loads(done.stdout) == {"package": str(package), "signature": f"{package}.sig"}


def test_without_the_library_it_says_what_to_install(signed, keys):
    code = "import sys; sys.modules['model_signing'] = None; from hubpkg.cli import main; sys.exit(main(sys.argv[1:]))"
    for arguments in (
        ["verify", "--public-key", keys / "publisher.pub"],
        ["sign", "--private-key", keys / "other.pem"],
    ):
        command = [sys.executable, "-c", code, *arguments, signed]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        refused(done, "pip install 'hubpkg[sign]'")


def test_sigstore_out_of_reach_is_said_in_one_line(hubpkg, signed, tmp_path):
    """No name is resolved, so that this needs no network, and finds none."""
    before = Path(f"{signed}.sig").read_bytes()
    nowhere = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
    nowhere |= dict.fromkeys(("NO_PROXY", "no_proxy"), "")  # which tests with a server on loopback set for all
    home = {"XDG_CACHE_HOME": str(tmp_path / "x"), "XDG_DATA_HOME": str(tmp_path / "y")}
    done = hubpkg("sign", signed, "--sigstore", env={**nowhere, **home})
    refused(done, "--sigstore: expected to reach Sigstore, found ")
    assert Path(f"{signed}.sig").read_bytes() == before
    (tmp_path / "trust.json").write_text("{}", encoding="utf-8")
    done = hubpkg("sign", signed, "--sigstore", "--trust-config", tmp_path / "trust.json")
    refused(done, "--sigstore: expected to reach Sigstore, found ")


def test_a_signed_package_is_run_again_and_loaded_in_one_process(signed, keys, shared_cache, tmp_path):
    """The libraries of both need protobuf, and not any implementation of it."""
    (tmp_path / "policy.yaml").write_text(f"signers: [{{public-key: {keys / 'publisher.pub'}}}]\n", encoding="utf-8")
    env = {**os.environ, "HUBPKG_CACHE": str(shared_cache), "HUBPKG_POLICY": str(tmp_path / "policy.yaml")}
    del env["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"]
    verify = ["-m", "hubpkg", "verify", "--rerun", "--sample", "8", signed, "--public-key", keys / "publisher.pub"]
    load = ["-c", "import sys, hubpkg; print(type(hubpkg.load(sys.argv[1])).__name__)", signed]
    for arguments, said in ((verify, f"{signed}: verified"), (load, "XCiT")):
        done = subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, check=False)
        assert done.stdout.partition("\n")[0] == said, done.stderr


def test_nothing_of_a_package_runs_whose_signature_is_wrong(here, signed, keys):
    entry = signed / ENTRY / "mindspore_hub_conf.py"
    entry.write_text(f"open({str(signed.parent / 'planted')!r}, 'w').close()\n{entry.read_text()}", encoding="utf-8")
    reseal(signed)
    done = here("verify", "--rerun", signed, "--public-key", keys / "publisher.pub")
    assert done.returncode == 1
    assert " rerun:" not in done.stdout
    assert not (signed.parent / "planted").exists()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A folder with an authority, a publisher that it certified, and others."""
    folder = tmp_path_factory.mktemp("certificates")
    root = make_key(folder, "root")
    issuer = (certify(folder, "root", root), root)
    for name in ("publisher", "agreement"):
        certify(folder, name, make_key(folder, name), issuer, for_signing=name == "publisher")
    certify(folder, "stranger", make_key(folder, "stranger"))
    (folder / "policy.yaml").write_text("signers:\n  - certificates: [root.crt]\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["publisher", "agreement", "stranger"])
def test_only_whom_an_authority_certified_for_signing_is_accepted(name, authority, here, package, signature_check):
    accepted = name == "publisher"
    credentials = ["--private-key", authority / f"{name}.pem", "--certificate", authority / f"{name}.crt"]
    assert here("sign", package, *credentials).returncode == 0
    _, check = signature_check(package, "--policy", authority / "policy.yaml")
    assert check["ok"] is accepted, check["detail"]
    assert f"whom {authority / 'root.crt'} certified" in check["detail"]
    chain = [sys.executable, "-m", "model_signing", "verify", "certificate", package, "--signature", f"{package}.sig"]
    done = subprocess.run([*chain, "--certificate_chain", authority / "root.crt"], capture_output=True, check=False)
    assert (done.returncode == 0) is accepted
    if accepted:
        flip(CARD)(package)
        assert signature_check(package, "--policy", authority / "policy.yaml")[1]["ok"] is False


def test_a_certificate_of_another_key_is_refused(authority, here, package):
    credentials = ["--private-key", authority / "publisher.pem", "--certificate", authority / "root.crt"]
    refused(here("sign", package, *credentials), "its own certificate if one is given", "does not match")
