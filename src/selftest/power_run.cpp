#include "selftest/power_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/timing.h"
#include "selftest/power_plan.h"

namespace greta {
namespace {

struct CleanSetting {
  int threads = 1;
  Isa isa = Isa::scalar;
  std::vector<std::string> routes;  // "default" or what --route all= takes
};

/// All routes on 1 and 2 threads; narrower ISAs on their default route.
std::vector<CleanSetting> clean_settings(Isa widest, bool quick) {
  const std::vector<std::string> routes{"default", "vector", "matrix"};
  std::vector<CleanSetting> settings{{2, widest, routes}};
  if (quick) return settings;
  settings.push_back({1, widest, routes});
  for (const Isa isa : {Isa::scalar, Isa::avx2}) {
    if (isa < widest) settings.push_back({2, isa, {"default"}});
  }
  return settings;
}

const Fault* route_fault(const std::string& only) {
  for (const Fault& fault : faults()) {
    if (!fault.make && fault.name.find(only) != std::string::npos) return &fault;
  }
  return nullptr;
}

class Measurement {
 public:
  Measurement(Engine& engine, const PowerRequest& request) : engine_(engine), request_(request) {
    const bool all = request.only.empty();
    planned_ = planned_faults(layers(), request.only, request.quick, &engine.model());
    routes_ = route_fault(request.only);
    if (planned_.empty() && routes_ == nullptr)
      fail_input("--only {}: no fault has this in its name; greta faults lists them", request.only);
    pairs_ = request.pairs.value_or(!all ? 0 : request.quick ? 4 : 20);
    if (request.weakest) limits_ = planned_limits(layers(), request.only);
    if (all) {
      clean_ = clean_prompts(engine.model(), request.quick);
      settings_ = clean_settings(engine.options().isa, request.quick);
    }
    total_ = static_cast<int>(planned_.size() + limits_.size()) + (routes_ != nullptr) + pairs_ + pairs_ / 2;
    for (const CleanSetting& setting : settings_)
      total_ += static_cast<int>(clean_.size() * setting.routes.size());
  }

  PowerResult run() {
    const Stopwatch clock;
    result_.model = engine_.model().config.name;
    result_.isa = name(engine_.options().isa);
    result_.threads = engine_.options().threads;
    const PowerTest power(engine_, power_prompts(engine_.model()), request_.routes);
    run_singles(power);
    run_stacks(power);
    for (const CleanSetting& setting : settings_) run_clean(setting);
    const std::vector<Prompt> prompts = power_prompts(engine_.model());
    for (DetectionLimit& limit : limits_) {
      step(fmt::format("weakest {}@{}:{}", limit.fault, name(limit.phase), limit.layer));
      find_limit(engine_, prompts, limit);
    }
    result_.limits = std::move(limits_);
    result_.seconds = clock.seconds();
    return std::move(result_);
  }

 private:
  int layers() const { return static_cast<int>(engine_.model().config.n_layer); }
  void step(const std::string& label) { request_.step(done_++, total_, label); }

  void run_singles(const PowerTest& power) {
    for (const PlannedFault& planned : planned_) {
      step(planned.text(layers()));
      run_single(power, planned);
    }
    if (routes_ == nullptr) return;
    step(routes_->name);
    result_.singles.push_back(power.ignored_routes(parse_fault(routes_->name, layers())));
  }

  /// Where its layer can't have the fault, in the next that can.
  void run_single(const PowerTest& power, const PlannedFault& planned) {
    std::string why;
    for (int further = 0; further < layers(); ++further) {
      try {
        result_.singles.push_back(power.single(parse_fault(planned.text(layers(), further), layers())));
        return;
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::input) throw;
        why = error.what();
      }
    }
    result_.impossible.push_back(why);
  }

  void run_stacks(const PowerTest& power) {
    const auto can_have = [&](const FaultSpec& spec) {
      try {
        changed_plan(engine_, *spec.phase, *spec.phase == Phase::prefill ? 2 : 1, request_.routes,
                     fault_change(engine_, {spec}));
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::input) throw;
        return false;
      }
      return true;
    };
    for (const std::vector<FaultSpec>& specs :
         stacked_faults(layers(), request_.only, pairs_, can_have, &engine_.model())) {
      std::string label;
      for (const FaultSpec& spec : specs) label += (label.empty() ? "" : " + ") + spec.text;
      step(label);
      result_.stacks.push_back(power.stacked(specs));
    }
  }

  void run_clean(const CleanSetting& setting) {
    const EngineOptions& own = engine_.options();
    std::unique_ptr<Engine> other;
    if (setting.threads != own.threads || setting.isa != own.isa)
      other = request_.make_engine(setting.threads, setting.isa);
    Engine& engine = other ? *other : engine_;
    for (const std::string& route : setting.routes) {
      RouteTable routes = request_.routes;
      if (route != "default") routes.add(parse_route_rule("all=" + route));
      for (const Prompt& prompt : clean_) {
        step(fmt::format("clean {} {} {}", prompt.id, route, name(setting.isa)));
        result_.clean.push_back(clean_run(engine, prompt, route, routes));
      }
    }
  }

  Engine& engine_;
  const PowerRequest& request_;
  std::vector<PlannedFault> planned_;
  const Fault* routes_ = nullptr;
  int pairs_ = 0;
  std::vector<Prompt> clean_;
  std::vector<CleanSetting> settings_;
  std::vector<DetectionLimit> limits_;
  int done_ = 0, total_ = 0;
  PowerResult result_;
};

}  // namespace

PowerResult measure_power(Engine& engine, const PowerRequest& request) {
  return Measurement(engine, request).run();
}

}  // namespace greta
