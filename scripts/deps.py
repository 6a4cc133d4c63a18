"""Do the packages of this workspace depend on each other only in the direction that they may? And is every program of tests run?

model <- engine <- suites <- cli; model <- fixtures <- cli; model <- reports <- cli. Development dependencies do not count.
A program of tests with a `main` of its own needs `harness = false`: without that line cargo builds another `main` for it, which knows of
no test, and passes. Exit 1 names every arrow that points back, and every such program. An argument names a file with the output of `cargo
metadata` instead.
"""

import json
import pathlib
import re
import subprocess
import sys

MAY = {
    "gatecrash-model": set(),
    "gatecrash-engine": {"gatecrash-model"},
    "gatecrash-fixtures": {"gatecrash-model"},
    "gatecrash-reports": {"gatecrash-model"},
    "gatecrash-suites": {"gatecrash-model", "gatecrash-engine"},
    "gatecrash": {"gatecrash-model", "gatecrash-engine", "gatecrash-fixtures", "gatecrash-reports", "gatecrash-suites"},
}
# What a pure package must not know of: sockets, tasks, processes.
PURE = {"gatecrash-model": {"tokio", "hyper", "reqwest", "nix", "rustix", "bollard", "testcontainers"}}


def problems(metadata):
    found = []
    packages = {package["name"]: package for package in metadata["packages"]}
    for name in sorted(set(packages) ^ set(MAY)):
        found.append(f"package `{name}` is not both in the workspace and in scripts/deps.py")
    for name, package in sorted(packages.items()):
        uses = {dependency["name"] for dependency in package["dependencies"] if dependency["kind"] != "dev"}
        for other in sorted(uses & set(packages)):
            if other not in MAY.get(name, set()):
                found.append(f"`{name}` depends on `{other}`; it may depend on {sorted(MAY.get(name, set())) or 'none'}")
        for other in sorted(uses & PURE.get(name, set())):
            found.append(f"`{name}` is pure and depends on `{other}`")
    return found


def harnesses(metadata):
    found = []
    for package in metadata["packages"]:
        manifest = pathlib.Path(package["manifest_path"])
        if not manifest.exists():
            continue
        own = set()
        for section in re.split(r"(?m)^(?=\[)", manifest.read_text(encoding="utf-8")):
            name = re.search(r'(?m)^name\s*=\s*"([^"]+)"', section)
            if name and section.startswith(("[[test]]", "[[bench]]")) and re.search(r"(?m)^harness\s*=\s*false", section):
                own.add(name.group(1))
        for target in package["targets"]:
            if not {"test", "bench"} & set(target["kind"]):
                continue
            source = pathlib.Path(target["src_path"])
            has_main = source.exists() and re.search(r"(?m)^(async )?fn main\(", source.read_text(encoding="utf-8"))
            if bool(has_main) != (target["name"] in own):
                what = "has a `main` and no `harness = false`" if has_main else "has `harness = false` and no `main`"
                found.append(f"`{target['name']}` of `{package['name']}` {what}: none of its tests would run")
    return found


def main():
    if len(sys.argv) > 1:
        with open(sys.argv[1], encoding="utf-8") as file:
            text = file.read()
    else:
        command = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
        text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    metadata = json.loads(text)
    found = problems(metadata) + harnesses(metadata)
    for problem in found:
        print(f"deps: {problem}", file=sys.stderr)
    if not found:
        print(f"deps: {len(MAY)} packages, every arrow points the right way; every program of tests runs")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
