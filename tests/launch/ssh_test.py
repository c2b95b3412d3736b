"""`greta launch` by ssh, against a real sshd on loopback: results as at home, arguments as given, each fault one clear
line, nothing lost and nothing left over."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import time

from launching import MATRIX, LaunchTest, main, skip_if, without_time_and_paths
from servers import SshServer, free_port, wait_until

NASTY = "a b'c\"d$(touch pwned)`touch pwned`\\n\n*;&|<>~#!{x,y}\t%s"


class SshTest(LaunchTest):
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

    # As at home.

    def test_a_clean_run(self):
        at_home = self.run_greta("isolate", "-m", self.model, *MATRIX, "--out", "home")
        done = self.launch()
        self.assertEqual((done.returncode, at_home.returncode), (0, 0), done.stderr)
        self.assertEqual(without_time_and_paths(self.results()), without_time_and_paths(self.here / "home"))
        self.assertEqual(done.stdout.splitlines()[2:-3], at_home.stdout.splitlines()[2:-3])
        there = {path.name for path in self.results().iterdir()}
        self.assertEqual(there - {path.name for path in (self.here / "home").iterdir()}, {"launch.out", "launch.log"})
        for file in (self.here / "home").glob("tensors-*"):
            self.assertEqual(file.read_bytes(), (self.results() / file.name).read_bytes())
        self.assert_nothing_left()

    def test_a_fault_and_json(self):
        done = self.launch("--inject", "wq_column_major@prefill,S>1", "--json")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(json.loads(done.stdout)["findings"][0]["hypothesis"], "weight_column_major")
        self.assert_nothing_left()

    def test_a_model_that_is_there_is_not_copied(self):
        done = self.launch("--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"-m {self.model} ", json.loads(done.stdout)["command_line"])
        renamed = self.launch(options=["--force", "--model-there", self.model], model=self.here / "none.gguf")
        self.assertEqual(renamed.returncode, 0, renamed.stderr)

    def test_a_relative_model_and_prompt_files_go_along(self):
        (self.here / "m.gguf").write_bytes(self.model.read_bytes())
        (self.here / "a prompt.txt").write_text("Hello\nthere")
        done = self.launch("--json", model="m.gguf", ask=["--prompts", "a prompt.txt,p0_short", "--quick"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({cell["prompt"] for cell in json.loads(done.stdout)["cells"]}, {"a prompt", "p0_short"})
        self.assert_nothing_left()

    def test_several_hosts_share_the_work(self):
        self.run_greta("isolate", "-m", self.model, *MATRIX, "--out", "home")
        done = self.launch(hosts=("box", "box2"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(without_time_and_paths(self.results()), without_time_and_paths(self.here / "home"))
        self.assert_nothing_left()

    def test_a_host_that_fails_leaves_its_share_to_another(self):
        self.run_greta("isolate", "-m", self.model, *MATRIX, "--out", "home")
        done = self.launch(hosts=("nowhere.invalid", "box"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("nowhere.invalid: there is no host of this name", done.stderr)
        self.assertEqual(without_time_and_paths(self.results()), without_time_and_paths(self.here / "home"))
        self.assert_nothing_left()

    def test_a_bundle_is_judged_elsewhere(self):
        self.run_greta("isolate", "-m", self.model, *MATRIX, "--out", "bundle")
        at_home = self.run_greta("diagnose", "bundle", "-m", self.model, "--json")
        done = self.run_greta(*self.launching(), "--", "diagnose", "bundle", "-m", self.model, "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["coverage"], json.loads(at_home.stdout)["coverage"])
        self.assert_nothing_left()

    # Arguments.

    def test_arguments_arrive_as_given(self):
        tells = self.stand_in("printf '%s\\0' \"$@\" >\"$out/words\"; printf %s \"$GRETA_TRACE_PROMPT_ID\" >\"$out/label\"")
        self.here.joinpath(NASTY.replace("/", "") + ".txt").write_text("Hi")
        words = ["--layers", NASTY, "--inject", "", "--prompts", NASTY.replace("{x,y}", "") + ".txt"]
        self.here.joinpath(words[-1]).write_text("Hi")
        done = self.launch(options=["--program", tells], ask=words, env={"GRETA_TRACE_PROMPT_ID": NASTY})
        self.assertEqual(done.returncode, 0, done.stderr)
        given = (self.results() / "words").read_bytes().decode().split("\0")[:-1]
        self.assertEqual(given[:3] + given[4:9],
                         ["isolate", "-m", str(self.model), NASTY, "--inject", "", "--prompts", "luggage/" + words[-1]])
        self.assertEqual((self.results() / "label").read_text(), NASTY)
        self.assertEqual(list(self.folder.rglob("pwned")), [])
        self.assert_nothing_left()

    def test_a_login_shell_that_greets(self):
        greeter = self.folder / "greeter"
        greeter.write_text("#!/bin/sh\necho 'Welcome!'; echo 'to you' >&2; exec sh -c \"$SSH_ORIGINAL_COMMAND\"\n")
        greeter.chmod(0o755)
        with (self.server.folder / "sshd_config").open("a") as config:
            config.write(f"ForceCommand {greeter}\n")
        self.server.stop()
        self.server.start()
        done = self.launch("--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        json.loads(done.stdout)
        self.assert_nothing_left()

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
        fills = self.stand_in("echo kept >\"$out/verdict.json\"; cat /dev/zero >\"$out/tensors-0000.safetensors\"; exit 3")
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

    # Faults in the run.

    def test_a_killed_program(self):
        launched = self.begun()
        os.kill(int((self.folder / "pid").read_text()), signal.SIGKILL)
        self.assert_one_line(self.ended(launched), 3, "was killed by signal 9", "its last words: it runs",
                             "what it left is in")
        self.assertEqual((self.results() / "verdict.json").read_text(), "kept\n")
        self.assert_nothing_left()

    def test_all_of_it_killed(self):
        launched = self.begun()
        os.killpg(os.getpgid(int((self.folder / "pid").read_text())), signal.SIGKILL)
        self.assert_one_line(self.ended(launched), 3, "ended without a word")
        self.assertEqual((self.results() / "verdict.json").read_text(), "kept\n")
        self.assert_nothing_left()

    def test_the_connection_is_cut(self):
        launched = self.begun()
        for _ in range(2):
            wait_until(self.server.connections, "no connection")
            self.server.cut()
            time.sleep(0.5)
        self.go.touch()
        done = self.ended(launched)
        self.assertEqual((done.returncode, done.stdout), (0, "the end\n"), done.stderr)
        self.assertIn("the connection was lost", done.stderr)
        self.assertEqual(done.stderr.count("box: it runs"), 1)
        self.assert_nothing_left()

    def test_a_connection_that_stays_away(self):
        launched = self.begun("--patience", "1")
        self.server.stop()
        done = self.ended(launched)
        self.assert_one_line(done, 3, f"nothing is lost: greta launch --resume artifacts_remote/day/isolate")
        self.go.touch()
        self.server.start()
        again = self.run_greta("launch", "--resume", "artifacts_remote/day/isolate")
        self.assertEqual((again.returncode, again.stdout), (0, "the end\n"), again.stderr)
        self.assertEqual((self.results() / "verdict.json").read_text(), "kept\n")
        self.assertFalse((self.results() / "launch.json").exists())
        self.assert_nothing_left()
        self.assertEqual(self.run_greta("launch", "--resume", "artifacts_remote/day/isolate").returncode, 2)

    def test_ctrl_c_ends_it_there(self):
        launched = self.begun()
        launched.send_signal(signal.SIGINT)
        done = self.ended(launched)
        self.assertEqual(done.returncode, 130, done.stderr)
        self.assertIn("what was recorded is in", done.stderr)
        self.assertEqual((self.results() / "verdict.json").read_text(), "kept\n")
        self.assertFalse(pathlib.Path(f"/proc/{(self.folder / 'pid').read_text().strip()}/cmdline").exists()
                         and b"stand-in" in pathlib.Path(
                             f"/proc/{(self.folder / 'pid').read_text().strip()}/cmdline").read_bytes())
        self.assert_nothing_left()

    def test_a_copy_goes_on_where_it_broke_off(self):
        big = self.stand_in("wc -c <\"$0\" >\"$out/verdict.json\"; exit 0")
        with big.open("ab") as file:
            file.write(b"exit 0\n" + os.urandom(1 << 20) * 300)
        launched = self.start_greta(*self.launching("--program", big), "--", "isolate", "-m", self.model)
        self.addCleanup(launched.kill)
        wait_until(lambda: any(path.stat().st_size > 1 << 20 for path in self.far.glob("*/incoming")), "no copy")
        self.server.cut()
        done = self.ended(launched)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("trying again", done.stderr)
        self.assertEqual(int((self.results() / "verdict.json").read_text()), big.stat().st_size)
        self.assert_nothing_left()


if __name__ == "__main__":
    skip_if(SshServer.lacking())
    main(SshTest)
