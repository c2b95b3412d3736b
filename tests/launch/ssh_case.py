"""A test of `greta launch` with an sshd of its own, and far programs that wait for what the test does."""

import subprocess

from launching import MATRIX, LaunchTest
from servers import SshServer, wait_until


class SshCase(LaunchTest):
    def setUp(self):
        super().setUp()
        self.server = self.serve()

    def serve(self, environment=()):
        server = SshServer(self.folder / f"ssh{len(list(self.folder.glob('ssh*')))}", environment)
        self.addCleanup(server.stop)
        return server

    def launching(self, *options, hosts=("box",), date="day"):
        return ["launch", *hosts, "--ssh-config", self.server.config, "--date", date,
                *([] if "--base" in options else ["--base", self.far]), *options]

    def launch(self, *options, ask=None, **more):
        words = [*self.launching(*more.pop("options", []), hosts=more.pop("hosts", ("box",))), "--", "isolate", "-m",
                 more.pop("model", self.model), *(ask if ask is not None else MATRIX), *options]
        return self.run_greta(*words, **more)

    def waiting(self, then="exit 0"):
        """A far program that says that it runs, waits for a file and goes on."""
        self.go = self.folder / "go"
        return self.stand_in(f"echo $$ >'{self.folder}/pid'; echo it runs >&2; echo kept >\"$out/verdict.json\"\n"
                             f"while [ ! -e '{self.go}' ]; do sleep 0.1; done; echo the end; {then}")

    def begun(self, *options):
        """A launched run of that program that is under way."""
        launched = self.start_greta(*self.launching("--program", self.waiting(), *options), "--", "isolate", "-m",
                                    self.model)
        self.addCleanup(launched.kill)
        wait_until((self.folder / "pid").exists, "the far program did not start")
        wait_until((self.results() / "launch.json").exists, "the run is not remembered")
        return launched

    def ended(self, launched):
        out, err = launched.communicate(timeout=60)
        return subprocess.CompletedProcess([], launched.returncode, out, err)
