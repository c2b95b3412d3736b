"""What can be wrong before `greta launch` has started anything, and full disks: each one clear line; nothing is left
over."""

import contextlib
import os
import subprocess

from launching import main, skip_if
from servers import SshServer, free_port
from ssh_case import SshCase


class SshFaultsTest(SshCase):
    # Faults before the run.

    def assert_refused(self, done, code, *says):
        self.assert_one_line(done, code, *says)
        self.assertFalse(self.results().exists())
        self.assert_nothing_left()

    def test_no_such_host(self):
        self.assert_refused(self.launch(hosts=("nowhere.invalid",)), 2, "nowhere.invalid: there is no host")

    def test_a_host_that_is_an_option(self):
        done = self.run_greta("launch", "--", "isolate", "-m", self.model)
        self.assert_refused(done, 2, "say where")
        done = self.run_greta("launch", "-oProxyCommand=touch pwned", "--", "isolate", "-m", self.model)
        self.assertEqual(done.returncode, 2)
        self.assertFalse((self.here / "pwned").exists())

    def test_nobody_answers(self):
        self.server.write_config(port=free_port())
        self.assert_refused(self.launch(), 3, "no ssh server answers", "Connection refused")

    def test_the_key_is_refused(self):
        self.server.write_config(key="stranger")
        self.assert_refused(self.launch(), 2, "takes none of our keys", "Permission denied (publickey)")

    def test_the_host_key_is_not_known(self):
        self.server.know(None)
        self.assert_refused(self.launch(), 2, "its host key is not known here")

    def test_the_host_key_has_changed(self):
        self.server.know(self.server.folder / "stranger.pub")
        self.assert_refused(self.launch(), 2, "another one than before", "ssh-keygen -R box")

    def test_an_account_without_a_shell(self):
        with (self.server.folder / "sshd_config").open("a") as config:
            config.write("ForceCommand echo This account is currently not available.\n")
        self.server.stop()
        self.server.start()
        self.assert_refused(self.launch(), 2, "runs no scripts of sh", "currently not available")

    def test_no_model(self):
        self.assert_refused(self.launch(model="/none.gguf"), 2, "/none.gguf", "neither here nor on box")
        self.assert_refused(self.launch(options=["--model-there", "/none.gguf"]), 2, "no model /none.gguf")

    def test_no_directory(self):
        self.assert_refused(self.launch(options=["--base", "/proc"]), 2, "no directory can be made", "--base DIR")

    def test_another_machine(self):
        tools = self.folder / "tools"
        tools.mkdir()
        (tools / "uname").write_text('#!/bin/sh\n[ "$1" = -s ] && echo Linux || echo riscv64\n')
        (tools / "uname").chmod(0o755)
        self.server = self.serve({"PATH": f"{tools}:{os.environ['PATH']}"})
        self.assert_refused(self.launch(), 2, "box: is Linux riscv64, and this program is for", "--program-there")

    def test_an_older_libc(self):
        old = self.folder / "old"
        old.write_text("#!/bin/sh\necho \"./greta: /lib/x86_64-linux-gnu/libc.so.6: version \\`GLIBC_2.99' not found "
                       "(required by ./greta)\" >&2\nexit 1\n")
        self.assert_refused(self.launch(options=["--program", old]), 2, "GLIBC_2.99' not found", "static build")

    def test_a_program_that_is_none(self):
        none = self.folder / "none"
        none.write_bytes(b"\x7fELF\x00nothing")
        self.assert_refused(self.launch(options=["--program", none]), 2, "does not run there")
        self.assert_refused(self.launch(options=["--program-there", "no-such-greta"]), 2, "no-such-greta", "not found")

    def test_another_version(self):
        other = self.stand_in("exit 0", version="greta 0.0.1")
        self.assert_refused(self.launch(options=["--program", other]), 2, '"greta 0.0.1"', "one version")

    def test_bad_arguments_are_refused_here(self):
        self.assert_refused(self.launch("--no-such-option"), 2, "unknown option --no-such-option")
        self.assert_refused(self.launch("--out", "x"), 2, "leave --out out")
        self.assert_refused(self.launch(ask=["--prompts", "no-such-prompt"]), 2, "no-such-prompt")
        self.assert_refused(self.run_greta(*self.launching(), "--", "bench", "-m", "x"), 2, "isolate or diagnose")

    def test_dashes_that_are_missing(self):
        done = self.run_greta("launch", "box", "isolate", "-m", self.model)
        self.assert_refused(done, 2, "put -- before isolate")

    def test_a_model_there_that_is_another_one(self):
        other = self.folder / "other.gguf"
        changed = bytearray(self.model.read_bytes())
        changed[-1] ^= 1  # of the last weight
        other.write_bytes(changed)
        done = self.launch(options=["--model-there", other])
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("box: its model is another one than", done.stderr)
        self.assertTrue((self.results() / "verdict.json").exists())
        self.assert_nothing_left()

    def test_all_hosts_fail(self):
        self.assert_refused(self.launch(hosts=("nowhere.invalid", "nowhere2.invalid")), 2, "there is no host")

    def test_all_hosts_fail_in_the_run(self):
        self.assert_refused(self.launch(hosts=("box", "box2"), ask=["--layers", "99"]), 2, "box: part 1/2 failed",
                            "--layers 99: the model has layers")

    def test_results_that_are_there(self):
        self.results().mkdir(parents=True)
        done = self.launch()
        self.assertEqual(done.returncode, 2)
        self.assertIn("--force", done.stderr)

    # Disks.

    @contextlib.contextmanager
    def small_disk(self, folder, mebibytes):
        folder.mkdir(exist_ok=True)
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", folder],
                              capture_output=True, check=False)
        if made.returncode != 0:
            self.skipTest("a small disk needs root, and a system that lets it mount")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", folder], check=True)

    def test_no_room_for_what_is_copied(self):
        with self.small_disk(self.far, 20):
            self.assert_refused(self.launch(), 3, "has room for", "MiB are needed")

    def test_the_disk_there_fills_up_in_the_run(self):
        fills = self.stand_in("echo kept >\"$out/verdict.json\"; cat /dev/zero >\"$out/events.jsonl\"; exit 3")
        with self.small_disk(self.far, 70):
            done = self.launch(options=["--program", fills, "--model-there", self.model])
            self.assert_one_line(done, 3, "the disk there is full")
            self.assertEqual((self.results() / "verdict.json").read_text(), "kept\n")
            self.assert_nothing_left()

    def test_the_disk_here_is_full(self):
        with self.small_disk(self.here, 1):
            big = self.stand_in("head -c 3000000 /dev/zero >\"$out/events.jsonl\"")
            done = self.launch(options=["--program", big])
            self.assert_one_line(done, 3, "No space left on device", "nothing is lost: greta launch --resume")
            memory = (self.results() / "launch.json").read_text()
        self.results().mkdir(parents=True)
        (self.results() / "launch.json").write_text(memory)
        done = self.run_greta("launch", "--resume", self.results())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.results() / "events.jsonl").stat().st_size, 3000000)
        self.assert_nothing_left()


if __name__ == "__main__":
    skip_if(SshServer.lacking())
    main(SshFaultsTest, at_once=4)
