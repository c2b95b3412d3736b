"""`greta launch` by ssh, against a real sshd on loopback: results as at home, arguments as given, nothing lost when the
connection is, and nothing left over."""

import json
import os
import pathlib
import signal
import subprocess
import tarfile
import time

from launching import MATRIX, main, skip_if, without_time_and_paths
from servers import SshServer, wait_until
from ssh_case import SshCase

NASTY = "a b'c\"d$(touch pwned)`touch pwned`\\n\n*;&|<>~#!{x,y}\t%s"


class SshTest(SshCase):
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

    def test_a_prompt_by_p_goes_along_and_a_text_is_one(self):
        (self.here / "own.txt").write_text("Hello there")
        for words in [["-p", "own.txt"], ["-p", "two words"], ["--prompts", "two words"]]:
            done = self.launch("--json", options=["--force"], ask=[*words, "--quick"])
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual({cell["prompt"] for cell in json.loads(done.stdout)["cells"]},
                             {"own" if words[1] == "own.txt" else "text"})

    def test_what_it_writes_besides_comes_home(self):
        done = self.launch("--attn-pipe", "made/../pipe.jsonl")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len((self.results() / "pipe.jsonl").read_text().splitlines()), 8)
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

    def test_the_runner_of_b3_31(self):
        runner = pathlib.Path(__file__).parents[2] / "tools/benchmarks/run_b3_31_mi300x.sh"
        tells = {"GRETA": self.greta, "LAUNCH": f"--ssh-config {self.server.config} --base {self.far}"}
        if not self.given.smollm2:
            tells["MODEL"] = str(self.model)
        done = subprocess.run([runner, "box", "2026-02-03", "--", "--seed", "7"], cwd=self.here, capture_output=True,
                              text=True, env={**self.environment, **tells}, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        folder = self.results("b3_31").parent.parent / "2026-02-03" / "b3_31"
        table = [line for line in (folder / "b3_31_analysis.txt").read_text().splitlines() if line.startswith("| E")]
        self.assertEqual([tuple(cell.strip() for cell in line.split("|")[1:3]) for line in table[:10]],  # then B3.32's
                         [(f"E{i}", prompt) for i in range(5) for prompt in ["p4_sys", "p5_ba"]])
        with tarfile.open(folder / "gretacore_b3_31_artifacts.tgz") as archive:
            held = set(archive.getnames())
            pipe = archive.extractfile("b3_31_attn_l0_pipe.jsonl").read().splitlines()
        self.assertGreaterEqual(held, {"b3_31_analysis.txt", "launch.log", "launch.out", "events.jsonl", "verdict.json",
                                       "report.html"})
        self.assertEqual(len(pipe), 20)  # cells, each in both phases
        self.assertEqual({json.loads(line)["event"] for line in pipe}, {"attn_l0_pipe"})
        self.assert_nothing_left()

    # Arguments.

    def test_arguments_arrive_as_given(self):
        tells = self.stand_in("printf '%s\\0' \"$@\" >\"$out/words\"\n"
                              "printf %s \"$GRETA_TRACE_PROMPT_ID\" >\"$out/label\"")
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
        self.assert_nothing_left()

    def test_ctrl_c_ends_it_on_all_hosts(self):
        launched = self.start_greta(*self.launching("--program", self.waiting(), hosts=("box", "box2")), "--", "isolate",
                                    "-m", self.model)
        self.addCleanup(launched.kill)
        wait_until(lambda: len(list(self.far.glob("*/part"))) == 2, "the far programs did not start")
        launched.send_signal(signal.SIGINT)
        done = self.ended(launched)
        self.assertEqual(done.returncode, 130, done.stderr)
        self.assertFalse(self.results().exists())
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
    main(SshTest, at_once=4)
