"""Prints the table of servers.md: what ``probe()`` finds on the servers of the tests, and on others named in the arguments.

python docs/explanation/servers_table.py [NAME=URL,ACCESS_KEY,SECRET_KEY ...]
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "tests")]

from support.servers import Server, run_moto, run_rclone  # noqa: E402

from messageflux_s3 import Capabilities  # noqa: E402


def main(named: list[str]) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(run_moto()), stack.enter_context(run_rclone())]
        for argument in named:
            name, _, place = argument.partition("=")
            servers.append(Server(name, *place.split(",")))
        found: list[Capabilities] = [server.connect().probe() for server in servers]
    print("| ability | " + " | ".join(server.name for server in servers) + " |")
    print("|---|" + "---|" * len(servers))
    columns = [dict(line.split(maxsplit=1) for line in str(one).splitlines()) for one in found]
    for ability in columns[0]:
        print(f"| `{ability}` | " + " | ".join(column[ability] for column in columns) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
