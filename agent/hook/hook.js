// SPDX-License-Identifier: MIT
//
// Starts one phase of the hook, which is Python (../leakstop/cli/hook.py), and returns its exit
// code. It is this dumb on purpose: nothing here has to change from release to release.
//
// By the time of `post` the job has run. Its steps can put variables into our environment, and
// as our user they can write to this directory. So `post` starts the interpreter and the copy of
// the code that an earlier phase named through GITHUB_STATE (the runner keeps it where steps do
// not reach, the copy belongs to root), and passes on only what it needs.
"use strict";

const { spawnSync } = require("node:child_process");
const path = require("node:path");

const SYSTEM_PYTHON = "/usr/bin/python3";
const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const MODERN = "import sys; sys.exit(sys.version_info < (3, 10))";
const UNFIT = 4; // ExitCode.UNSUPPORTED

// Changes what a program that we start does before it does what we want.
const HIJACKS = /^(LD_|PYTHON|NODE_|BASH_|GCONV_|GLIBC_|MALLOC_)|^(ENV|LOCPATH|NLSPATH|IFS)$/;
const NEEDED_AT_THE_END = /^(GITHUB_|RUNNER_|STATE_|LC_)|^(CI|HOME|LANG|TMPDIR)$/;

function environment(phase) {
  const all = Object.entries(process.env);
  if (phase === "post") {
    const kept = all.filter(([name]) => NEEDED_AT_THE_END.test(name));
    return { ...Object.fromEntries(kept), PATH: SYSTEM_PATH };
  }
  return Object.fromEntries(all.filter(([name]) => !HIJACKS.test(name)));
}

function isModern(python, env) {
  const asked = spawnSync(python, ["-I", "-S", "-B", "-c", MODERN], { env, stdio: "ignore" });
  return asked.status === 0;
}

function interpreter(phase, env) {
  if (phase === "post" && process.env.STATE_python) {
    return process.env.STATE_python;
  }
  return [SYSTEM_PYTHON, "python3"].find((python) => isModern(python, env));
}

function run(phase) {
  const env = environment(phase);
  const python = interpreter(phase, env);
  if (python === undefined) {
    console.log("::error title=Leakstop%3A this machine is unsupported::Python 3.10 or newer is needed as python3.");
    process.exit(UNFIT);
  }
  const copy = phase === "post" ? process.env.STATE_code : "";
  const program = path.join(copy || path.resolve(__dirname, "..", "leakstop"), "__main__.py");
  const done = spawnSync(python, ["-I", "-B", program, "hook", phase], { env, stdio: "inherit" });
  if (done.status === null) {
    const why = done.error ? done.error.code : done.signal;
    console.log(`::error title=Leakstop%3A the guard's own step failed::${phase} ended with ${why}.`);
  }
  process.exit(done.status ?? 1);
}

module.exports = { run };
