#pragma once
// How `greta bench --profile` shows where the time goes.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "engine/profile.h"
#include "kernels/ceilings.h"

namespace greta::cli {

nlohmann::json ceilings_json(const Ceilings& ceilings);
nlohmann::json profile_json(const Profile& profile, const Ceilings& ceilings);
void print_profile(const std::string& title, const Profile& profile, const Ceilings& ceilings);
void print_ceilings(const Ceilings& ceilings);

}  // namespace greta::cli
