"""`greta launch --slurm` on a real cluster of one node: the array's verdict is that of a run at home, whatever becomes
of its tasks."""

import json
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from launching import MATRIX, LaunchTest, main, skip_if, without_time_and_paths
from servers import SlurmCluster, SshServer, wait_until

TASKS = 4


class SlurmTest(LaunchTest):
    @classmethod
    def setUpClass(cls):
        cls.folder_of_cluster = tempfile.mkdtemp(prefix="greta-slurm-")
        cls.addClassCleanup(shutil.rmtree, cls.folder_of_cluster, ignore_errors=True)
        cls.cluster = SlurmCluster(f"{cls.folder_of_cluster}/cluster")
        cls.addClassCleanup(cls.cluster.stop)

    def setUp(self):
        super().setUp()
        self.environment = self.cluster.environment
        self.run_greta("isolate", "-m", self.model, *MATRIX, "--out", "home")

    def launching(self, *options, ask=MATRIX):
        return ["launch", "--slurm", "--tasks", TASKS, "--date", "day", *options, "--", "isolate", "-m", self.model,
                *ask]

    def assert_as_at_home(self, name="isolate"):
        self.assertEqual(without_time_and_paths(self.results(name)), without_time_and_paths(self.here / "home"))

    def assert_no_directory_left(self):
        self.assertEqual(list(self.here.glob("artifacts_remote/*/*/greta-launch-*")), [])
        self.assertEqual(self.cluster.run(["squeue", "-h"]), "")

    def greta_that_waits_in(self, tasks):
        """The program, but tasks of these numbers wait in their first attempt, and leave what a killed one may."""
        path = self.folder / "greta"
        path.write_text(f"""#!/bin/sh
i=$SLURM_ARRAY_TASK_ID
case " {' '.join(map(str, tasks))} " in *" $i "*)
  if [ "$1" = isolate ] && [ ! -e '{self.folder}/begun-'$i ]; then
    '{self.greta}' "$@"
    head -c 100 part-$i/part.cbor >part-$i/part.cbor.tmp; rm part-$i/part.cbor
    touch '{self.folder}/begun-'$i
    sleep 300
  fi;;
esac
exec '{self.greta}' "$@"
""")
        path.chmod(0o755)
        return path

    def job_of_task(self, number):
        found = [line.split() for line in self.cluster.run(["squeue", "-h", "-r", "-o", "%F %K %t"]).splitlines()]
        return next((f"{array}_{task}", state) for array, task, state in found if task == str(number))

    def test_the_matrix_as_an_array(self):
        done = self.run_greta(*map(str, self.launching()))
        self.assertEqual(done.returncode, 0, done.stderr)
        for i in range(1, TASKS + 1):
            self.assertIn(f"part {i} of {TASKS} is judged", done.stderr)
        self.assert_as_at_home()
        self.assert_no_directory_left()

    def test_a_fault_as_json(self):
        ask = [*MATRIX, "--inject", "wq_column_major@prefill,S>1", "--json"]
        done = self.run_greta(*map(str, self.launching(ask=ask)))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(json.loads(done.stdout)["findings"][0]["hypothesis"], "weight_column_major")
        self.assertTrue(json.loads(done.stdout)["findings"][0]["intervention"]["mismatch_removed"])

    def test_tasks_that_are_requeued_or_killed(self):
        launched = self.start_greta(*map(str, self.launching("--program", self.greta_that_waits_in([1, 2]))))
        self.addCleanup(launched.kill)
        for i in (1, 2):
            wait_until((self.folder / f"begun-{i}").exists, f"task {i} did not start", 60)
        requeued, killed = self.job_of_task(1)[0], self.job_of_task(2)[0]
        self.assertEqual(self.cluster.run(["scontrol", "requeue", requeued]), "")
        log = next(self.results().glob("greta-launch-*/launch.log"))
        end = time.monotonic() + 200
        while "part 1 of 4" not in log.read_text() and time.monotonic() < end:
            self.cluster.run(["scontrol", "update", f"JobId={requeued}", "StartTime=now"])  # not in two minutes
            time.sleep(0.5)
        self.assertEqual(self.cluster.run(["scancel", "--signal=KILL", "--full", killed]), "")
        out, err = launched.communicate(timeout=60)
        self.assertEqual(launched.returncode, 0, err)
        self.assertIn("part 1 of 4 is judged", err)
        self.assertNotIn("part 2 of 4 is judged", err)
        self.assertIn("note: part 2 of 4 is missing: its stages are judged now", err)
        self.assert_as_at_home()
        self.assert_no_directory_left()

    def test_sbatch_refuses(self):
        done = self.run_greta(*map(str, self.launching("--sbatch=--partition=none such")))
        self.assert_one_line(done, 2, "invalid partition specified: none such")
        self.assertFalse((self.here / "artifacts_remote" / "day" / "isolate").exists())
        self.assert_no_directory_left()

    def test_ctrl_c_cancels_the_jobs(self):
        launched = self.start_greta(*map(str, self.launching("--program", self.greta_that_waits_in([1, 2]))))
        self.addCleanup(launched.kill)
        wait_until((self.folder / "begun-1").exists, "task 1 did not start", 60)
        wait_until((self.results() / "launch.json").exists, "the run is not remembered")
        launched.send_signal(signal.SIGINT)
        _, err = launched.communicate(timeout=60)
        self.assertEqual(launched.returncode, 130, err)
        self.assert_no_directory_left()

    @unittest.skipIf(SshServer.lacking(), "not installed: openssh-server")
    def test_submitted_by_ssh(self):
        server = SshServer(self.folder / "ssh", {"SLURM_CONF": self.environment["SLURM_CONF"]})
        self.addCleanup(server.stop)
        words = self.launching("--ssh-config", server.config, "--base", self.far)
        done = self.run_greta(words[0], "box", *map(str, words[1:]))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assert_as_at_home()
        self.assert_nothing_left()


if __name__ == "__main__":
    skip_if(SlurmCluster.lacking())
    main(SlurmTest)
