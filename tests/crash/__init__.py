"""Proof of crash safety: strike a command at every call, build every disk that a power cut may leave.

The parts, from the bottom: ``shim.c`` sees and strikes libc calls; ``shim`` builds and arms it; ``trees`` copies and
compares what is on disk; ``forkserver`` runs the application in forks of a warm interpreter; ``worker`` runs one
scenario in one private root; ``killpoints`` strikes all points with several workers; ``diskmodel``, ``crashstates``
and ``replay`` replay a recorded run and lose parts of it; ``power`` cuts the power of real file systems.

For the command X with a setup S, the next command R and a check C::

    scenario = Scenario(setup=S, run=["upgrade", "head", "--home", "{root}/home"], recover=["recover", ...], check=C,
                        app="package.cli:main", preload=["alembic"], ignore=["*/logs"])
    with Harness(scenario, shim=shim) as harness:
        harness.strike(ALL_MODES).assert_clean()
        harness.strike(["kill"], recrash=["kill", "sticky:ENOSPC"]).assert_clean()
        explore(harness, "posix", subsets=8).assert_clean()
    with Harness(scenario, shim=shim, filesystem="ext4") as harness:
        harness.strike(["power"]).assert_clean()
"""
