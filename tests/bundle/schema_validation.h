#pragma once
// A bundle on disk against docs/trace.schema.json, by Python's jsonschema.

#include <sys/wait.h>

#include <cstdlib>
#include <string>

#include "io/testing.h"

namespace greta::testing {

inline const std::string kSchema = std::string(GRETA_SOURCE_DIR) + "/docs/trace.schema.json";

inline int run(const std::string& command) {
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// Exit code 0 when every line of events.jsonl and the manifest validate;
/// 77 when Python or jsonschema is absent.
inline int validate(const std::string& directory) {
  const std::string script = directory + ".py";
  write_file(script, R"(
import json, sys
try:
    import jsonschema
except ImportError:
    sys.exit(77)
schema = json.load(open(sys.argv[1]))
def validator(name):
    return jsonschema.Draft202012Validator({"$defs": schema["$defs"], "$ref": "#/$defs/" + name})
jsonschema.Draft202012Validator.check_schema(schema)
try:
    validator("manifest").validate(json.load(open(sys.argv[2] + "/manifest.json")))
    for line in open(sys.argv[2] + "/events.jsonl"):
        validator("event").validate(json.loads(line))
except jsonschema.ValidationError as error:
    print(error.message)
    sys.exit(1)
)");
  const int result = run("python3 '" + script + "' '" + kSchema + "' '" + directory + "' 2>&1");
  return result == 127 ? 77 : result;
}

}  // namespace greta::testing
