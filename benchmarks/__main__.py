"""Run all benchmarks: `python -m benchmarks`, or those named: `python -m benchmarks picking`."""

import sys

from benchmarks import discovery, picking, proxy, telemetry

ALL = {
    "discovery": discovery.main,
    "picking": picking.main,
    "proxy": proxy.main,
    "telemetry": telemetry.main,
}


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in ALL]
    if unknown:
        sys.exit(f"no benchmark {', '.join(unknown)}: there are {', '.join(ALL)}")
    for name in names or ALL:
        ALL[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
