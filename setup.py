"""Package metadata comes from settings.ini; this file only hands it to setuptools."""

import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

root = Path(__file__).parent
parser = ConfigParser(delimiters=["="])
parser.read(root / "settings.ini", encoding="utf-8")
cfg = parser["DEFAULT"]


def lines(key: str) -> list[str]:
    return [line.strip() for line in cfg[key].splitlines() if line.strip()]


def figure_files() -> list[Path]:
    "The figure notebooks and their parameter files: the wheel carries them, so that no checkout is needed."
    patterns = ("fig[0-9]*.ipynb", "*/*_fig[0-9A-Z]*.ipynb", "*/*_table[0-9]*.ipynb", "*/paper/*.yaml", "*/real/*.yaml")
    return sorted(path for pattern in patterns for path in (root / "nbs").glob(pattern))


class BuildWithNotebooks(build_py):
    "Copies nbs/… to dynbook/notebooks/… in the build."

    def run(self) -> None:
        super().run()
        if getattr(self, "editable_mode", False):
            return
        for path in figure_files():
            target = Path(self.build_lib) / "dynbook" / "notebooks" / path.relative_to(root / "nbs")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        costs = root / "figures" / "costs.csv"
        if costs.exists():
            shutil.copyfile(costs, Path(self.build_lib) / "dynbook" / "notebooks" / costs.name)


extras = {key.removesuffix("_requirements"): lines(key) for key in cfg if key.endswith("_requirements")}
extras["dev"] += extras["docs"]

setup(
    version=cfg["version"],
    description=cfg["description"],
    long_description=(root / "README.md").read_text(encoding="utf-8") if (root / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    author=cfg["author"],
    author_email=cfg["author_email"],
    url=cfg["url"],
    project_urls={"Documentation": cfg["docs_url"]},
    keywords=cfg["keywords"],
    license=cfg["license"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["dynbook", "dynbook.*"]),
    package_data={"dynbook": ["py.typed", "*.mplstyle"]},
    cmdclass={"build_py": BuildWithNotebooks},
    install_requires=lines("requirements"),
    extras_require=extras,
    entry_points={"console_scripts": lines("console_scripts"), "nbdev": [f"{cfg['lib_name']}=dynbook._modidx:d"]},
)
