#include "launch/machine.h"

#include <gmock/gmock.h>
#include <rapidcheck/gtest.h>

#include "launch/errand.h"
#include "launch/scripts.h"

namespace greta::launch {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// What a real shell makes of the word.
std::string through_sh(const std::string& text) {
  return Machine("", "").run("printf %s " + sh_word(text)).output;
}

TEST(ShellWord, WhatShellsTakeForSomethingElse) {
  for (const char* text :
       {"",  " ",  "'", "''", "\"", "$(exit)", "`exit`", "a\nb", "\n",    "\\",       "\\n", "*",
        "~", "!x", "#", "-n", "%s", "a;b",     "a&b",    "\t",   "{a,b}", "\x80\xff", "año"})
    EXPECT_EQ(through_sh(text), text);
}

RC_GTEST_PROP(ShellWord, AnyBytesArrive, (std::vector<unsigned char> bytes)) {
  std::string text;
  for (const unsigned char c : bytes) text += static_cast<char>(c == 0 ? 1 : c);
  RC_ASSERT(through_sh(text) == text);
}

TEST(Machine, TellsHowAScriptEnded) {
  const Machine here("", "");
  EXPECT_EQ(here.run("exit 0").exit_code, 0);
  EXPECT_EQ(here.run("echo out; echo err >&2; exit 7").exit_code, 7);
  EXPECT_EQ(here.run("echo out; echo err >&2; exit 7").output, "out\n");
  EXPECT_EQ(here.run("echo out; echo err >&2; exit 7").errors, "err\n");
  EXPECT_EQ(here.run("cat").output, "");  // its input is empty
}

TEST(Machine, OutputIsBytes) {
  const Machine::Ran ran = Machine("", "").run("printf '\\0\\377\\n\\n'; head -c 200000 /dev/zero");
  EXPECT_EQ(ran.output.substr(0, 4), std::string("\0\xff\n\n", 4));
  EXPECT_EQ(ran.output.size(), 200'004u);
}

TEST(Machine, AScriptThatArrivesInPartDoesNothing) {
  EXPECT_THROW(Machine("", "").run("echo begun\n(echo half"), Error);
  // Nor does one whose end arrives in part.
  EXPECT_THROW(Machine("", "").run("printf '\\ngreta-launch-ends '; kill -KILL 0"), Error);
}

TEST(Machine, AHostIsNoOption) {
  for (const char* host : {"-oProxyCommand=id", "a b", "a\nb"})
    EXPECT_THROW(Machine(host, ""), Error) << host;
}

std::string refusal(const std::string& ssh_says) {
  try {
    fail_as_ssh("box", ssh_says);
  } catch (const Lost& lost) {
    return std::string("lost: ") + lost.what();
  } catch (const Error& error) {
    return error.what();
  }
}

// The complaints of OpenSSH 9.2, as it prints them.
TEST(Machine, SshsComplaintsAreOneLineThatSaysWhatToDo) {
  EXPECT_EQ(refusal("ssh: Could not resolve hostname box: Name or service not known\r\n"),
            "box: there is no host of this name; check it, or its entry in ~/.ssh/config");
  EXPECT_EQ(
      refusal("me@box: Permission denied (publickey).\r\n"),
      "box: the server takes none of our keys (me@box: Permission denied (publickey).); ssh box true must "
      "work without a password");
  EXPECT_THAT(refusal("@@@\r\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\r\nHost key verification "
                      "failed.\r\n"),
              HasSubstr("another one than before, so nothing was sent"));
  EXPECT_THAT(refusal("Host key verification failed.\r\n"), HasSubstr("not known here"));
  EXPECT_THAT(refusal("ssh: connect to host box port 22: Connection refused\r\n"),
              HasSubstr("lost: box: no ssh"));
  EXPECT_THAT(refusal("ssh: connect to host box port 22: Connection timed out\r\n"),
              HasSubstr("lost: box: does not answer"));
  EXPECT_THAT(refusal("Connection to box closed by remote host.\r\n"),
              HasSubstr("lost: box: the connection was lost: Connection to box closed by remote host."));
  EXPECT_EQ(refusal(""), "lost: box: the connection was lost");
  for (const char* says :
       {"", "x\r\ny\r\n", "kex_exchange_identification: read: Connection reset by peer\r\n"})
    EXPECT_EQ(refusal(says).find('\n'), std::string::npos);
}

TEST(Errand, PathsAreReplacedWhereTheyStand) {
  const std::vector<std::string> given = {"isolate",      "-m",
                                          "a b.gguf",     "--prompts",
                                          "x.txt,p4_sys", "--model=a b.gguf",
                                          "-ma b.gguf",   "--prompts=p4_sys,x.txt",
                                          "xx.txt"};
  EXPECT_THAT(with_path(with_path(given, "a b.gguf", "M"), "x.txt", "P"),
              ElementsAre("isolate", "-m", "M", "--prompts", "P,p4_sys", "--model=M", "-mM",
                          "--prompts=p4_sys,P", "xx.txt"));
}

TEST(Scripts, AMergeTakesThePartsThatAreThere) {
  const std::string script =
      "cd \"$(mktemp -d)\"; mkdir part-1 part-3; echo x >part-1/part.cbor; echo x "
      ">part-3/part.cbor; mkdir part-2\n" +
      merge_line("echo", "'echo' 'whole'", {"--out", "o p"}, 3);
  EXPECT_EQ(Machine("", "").run(script).output, "merge part-1 part-3 --out o p\n");
  EXPECT_EQ(Machine("", "").run("cd /\n" + merge_line("echo", "'echo' 'whole'", {"--out", "o"}, 3)).output,
            "whole --out o\n");
}

}  // namespace
}  // namespace greta::launch
