"""Policy files: whose signature counts for which package, for ``verify`` and for ``hubpkg.load``."""

import shutil
from pathlib import Path

import pytest
from forging import remake, reseal
from handmade import Card, served
from keys import make_key
from sigstore_instance import Instance

import hubpkg as api
from hubpkg import checkpoint, hub, manifest, signature, signers
from hubpkg.errors import IntegrityError, InvalidDocumentError, SignatureError

pytestmark = pytest.mark.usefixtures("mode")

UID = "hubpkg/2.8/xcit_small_digits"


@pytest.fixture
def publisher(tmp_path):
    """A folder with a key pair, and a policy that asks for its signature on the publisher's packages."""
    folder = tmp_path / "publisher"
    folder.mkdir()
    make_key(folder, "key")
    make_key(folder, "other")
    write_policy(folder, "signers: [{packages: [hubpkg/*], public-key: key.pub}]")
    return folder


def write_policy(folder, text):
    (folder / "policy.yaml").write_text(f"{text}\n", encoding="utf-8")
    return folder / "policy.yaml"


@pytest.fixture
def signed(package, publisher):
    signature.sign(package, signature.Credentials(publisher / "key.pem"))
    return package


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "cache"))


def found(policy, uid, package):
    """Whether the signature beside ``package``, called ``uid``, is as the policy asks."""
    names = [file.relative_to(package).as_posix() for file in package.rglob("*") if file.is_file()]
    digests = {name: record.sha256 for name, record in manifest.records(package, names).items()}
    file = signature.path_of(package)
    return str(signers.read(policy).check(uid, file.read_bytes(), str(file), digests))


def test_a_signer_counts_for_the_packages_that_it_is_named_for(signed, publisher):
    policy = publisher / "policy.yaml"
    assert found(policy, UID, signed) == f"the key {publisher / 'key.pub'}"
    with pytest.raises(SignatureError, match=r"expected somebody who may sign mindspore/2\.8/x_y, found nobody"):
        found(policy, "mindspore/2.8/x_y", signed)
    with pytest.raises(SignatureError, match="found nobody"):
        found(policy, "HUBPKG/2.8/x_y", signed)


def test_any_one_of_several_signers_is_enough_and_each_refusal_is_told(signed, publisher):
    both = "signers: [{public-key: other.pub}, {public-key: key.pub}]"
    assert found(write_policy(publisher, both), UID, signed) == f"the key {publisher / 'key.pub'}"
    one = "signers: [{public-key: other.pub}, {packages: ['*/digits', hubpkg/2.8/*], public-key: other.pub}]"
    with pytest.raises(SignatureError) as caught:
        found(write_policy(publisher, one), UID, signed)
    assert str(caught.value).count("expected a signature of the key") == 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("signers: []", "signers: expected a length of at least 1"),
        ("signer: []", "unknown key; the nearest: signers"),
        ("signers: [{}]", "signers[0]: expected one of public-key, certificates, identity, found none"),
        ("signers: [{public-key: a, certificates: [b]}]", "found public-key and certificates"),
        ("signers: [{identity: a}]", "expected identity and issuer together"),
        ("signers: [{public-key: a, issuer: 'https://x'}]", "expected identity and issuer together"),
        ("signers: [{public-key: a, trust-config: x}]", "expected identity and issuer together"),
        ("signers: [{identity: a, issuer: 'http://x'}]", "signers[0].issuer: expected the https URL"),
        ("signers: [{public-key: a, packages: []}]", "signers[0].packages: expected a length of at least 1"),
    ],
)
def test_a_policy_with_faults_is_refused_with_their_lines(text, fault, tmp_path):
    with pytest.raises(InvalidDocumentError) as caught:
        signers.read(write_policy(tmp_path, text))
    assert fault in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path / 'policy.yaml'}:1:")


def test_a_signature_by_key_is_none_of_an_identity(signed, publisher, hubpkg):
    """Who is asked for by identity needs an instance of Sigstore: here a file that describes none."""
    (publisher / "trust.json").write_text("{}", encoding="utf-8")
    text = "signers: [{identity: a@example.com, issuer: 'https://example.com', trust-config: trust.json}]"
    done = hubpkg("verify", signed, "--policy", write_policy(publisher, text))
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected to reach Sigstore, for a@example.com, as https://example.com knows them; found " in done.stderr


def test_who_signed_by_sigstore_is_told_by_identity_and_issuer(package, tmp_path):
    instance = Instance()
    (tmp_path / "trust.json").write_text(instance.trust_config(), encoding="utf-8")
    signature.path_of(package).write_bytes(instance.sign(package, "release@example.com", "https://example.com/login"))
    text = "signers: [{{identity: {}, issuer: {}, trust-config: trust.json}}]"
    policy = write_policy(tmp_path, text.format("release@example.com", "https://example.com/login"))
    assert found(policy, UID, package) == "release@example.com, as https://example.com/login knows them"
    for identity, issuer, told in (
        ("other@example.com", "https://example.com/login", "SANs do not match"),
        ("release@example.com", "https://example.com/other", "OIDCIssuer does not match"),
    ):
        with pytest.raises(SignatureError, match=told):
            found(write_policy(tmp_path, text.format(identity, issuer)), UID, package)
    write_policy(tmp_path, text.format("release@example.com", "https://example.com/login"))
    (tmp_path / "trust.json").write_text(Instance().trust_config(), encoding="utf-8")  # another authority
    with pytest.raises(SignatureError, match="found another: "):
        found(policy, UID, package)
    (tmp_path / "trust.json").write_text(instance.trust_config(), encoding="utf-8")
    (package / "added").touch()
    with pytest.raises(SignatureError, match="added: expected no such file, as signed, found"):
        found(policy, UID, package)


def test_a_signed_package_loads_and_needs_no_trust_repo(signed, publisher):
    assert isinstance(api.load(signed, policy=publisher / "policy.yaml").parameters_dict(), dict)
    assert "head.bias" in api.load_weights(signed, policy=publisher / "policy.yaml")


def plant(package, planted):
    """Have the package's code leave a file where it runs, and its manifest pin that code."""
    file = package / "xcit_small" / "mindspore_hub_conf.py"
    source = file.read_text(encoding="utf-8")
    file.write_text(f"open({str(planted)!r}, 'w').close()\n{source}", encoding="utf-8")
    reseal(package)


def refused(package, policy, pattern, **options):
    with pytest.raises(SignatureError, match=pattern):
        api.load(package, policy=policy, trust_repo=True, **options)
    with pytest.raises(SignatureError, match=pattern):
        api.load_weights(package, policy=policy)


def test_forged_code_does_not_run(signed, publisher, tmp_path):
    plant(signed, tmp_path / "planted")
    refused(signed, publisher / "policy.yaml", "xcit_small/mindspore_hub_conf.py: expected .*, as signed, found ")
    assert not (tmp_path / "planted").exists()
    api.load(signed)  # nobody asked who signed it
    assert (tmp_path / "planted").exists()


def test_forged_weights_do_not_load(signed, publisher):
    weights = next(signed.glob("*.ckpt"))
    checkpoint.save(hub.load(signed, pretrained=False), weights)
    remake(signed)
    api.load(signed)
    refused(signed, publisher / "policy.yaml", r"xcit_small-\w{8}.ckpt: expected no such file, as signed, found ")


def test_files_changed_after_the_signature_was_checked_do_not_load(signed, publisher):
    """What the signature is over is the manifest, and all else is compared with that before it is used."""
    weights = next(signed.glob("*.ckpt"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(IntegrityError, match=f"{weights}: expected sha256"):
        api.load(signed, policy=publisher / "policy.yaml")


def test_an_unsigned_package_and_a_card_alone_do_not_load(package, publisher, tmp_path):
    refused(package, publisher / "policy.yaml", r"\.sig: expected a signature of the key .*, found none")
    (tmp_path / "hand").mkdir()
    card = Card(tmp_path / "hand")
    refused(card.path, publisher / "policy.yaml", "found a card with no manifest; ask its publisher for a package")
    assert not card.runs()


def test_the_environment_names_the_policy_unless_the_call_does(signed, publisher, monkeypatch):
    monkeypatch.setenv("HUBPKG_POLICY", str(publisher / "policy.yaml"))
    api.load(signed)
    signature.sign(signed, signature.Credentials(publisher / "other.pem"))
    with pytest.raises(SignatureError, match="Key mismatch"):
        api.load(signed)
    (publisher / "other.yaml").write_text("signers: [{public-key: other.pub}]\n", encoding="utf-8")
    api.load(signed, policy=str(publisher / "other.yaml"))


def test_a_package_at_a_url_is_signed_beside_its_folder_and_loads_offline_afterwards(
    signed, publisher, tmp_path, monkeypatch
):
    root = tmp_path / "served"
    root.mkdir()
    shutil.copytree(signed, root / signed.name)
    policy = publisher / "policy.yaml"
    with served(root) as (url, asked):
        name = f"{url}/{signed.name}"
        refused(name, policy, r"\.sig: expected a signature .*, found none")
        assert not [path for path in asked if path.endswith(".ckpt")]
        shutil.copyfile(f"{signed}.sig", root / f"{signed.name}.sig")
        api.load(name, policy=policy)  # that there was none did not bind
        signature.sign(signed, signature.Credentials(publisher / "other.pem"))
        shutil.copyfile(f"{signed}.sig", root / f"{signed.name}.sig")
        with pytest.raises(SignatureError, match="Key mismatch"):
            api.load(name, policy=policy, force_reload=True)
    monkeypatch.setenv("HUBPKG_OFFLINE", "1")
    api.load(name, policy=policy)


def test_a_policy_that_can_not_be_read_is_said_before_anything_else(package, tmp_path):
    with pytest.raises(api.HubpkgError, match="expected a readable file"):
        api.load(tmp_path / "nowhere", policy=tmp_path / "none.yaml")
    assert Path(package).is_dir()
