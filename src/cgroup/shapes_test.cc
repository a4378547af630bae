// Machines of eight shapes, as trees of plain files: what is promised there is what Create then
// holds to, and what is not promised is refused. What of them can be had for real on the machine of
// the test is tried there, with programs: tests/e2e/doctor_test.py.
//
//   v2, hybrid, v1 alone, no memory controller, a file system that cannot be written, no pressure,
//   no clone3, no privileges

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "base/unique_fd.h"
#include "cgroup/cgroup_host.h"
#include "cgroup/pressure.h"
#include "cgroup/probe.h"
#include "cgroup/process_tree_host.h"
#include "cgroup/test_tree.h"

namespace mete::cgroup {
namespace {

using agent::Capabilities;
using agent::Grade;
using agent::KernelLimits;

struct Shape {
  const char* what;
  const char* unified;  // controllers of the unified hierarchy; null: there is none
  bool cpu_v1, memory_v1, pids_v1;
  bool writable;
  const char* layout;  // of the host of control groups
  Grade cpu, memory, pids, freeze;
};

constexpr Grade kYes = Grade::kKernel, kNo = Grade::kAbsent;
constexpr const char* kAll = "cpuset cpu io memory pids";

const Shape kShapes[] = {
    {"v2", kAll, false, false, false, true, "v2", kYes, kYes, kYes, kYes},
    {"hybrid", "", true, true, true, true, "hybrid", kYes, kYes, kYes, kYes},
    {"v1 alone", nullptr, true, true, true, true, "none", kNo, kNo, kNo, kNo},
    {"v2 without memory", "cpu pids", false, false, false, true, "v2", kYes, kNo, kYes, kYes},
    {"hybrid without memory", "", true, false, true, true, "hybrid", kYes, kNo, kYes, kYes},
    {"v2 without controllers", "", false, false, false, true, "v2", kNo, kNo, kNo, kYes},
    {"not to be written", kAll, false, false, false, false, "none", kNo, kNo, kNo, kNo},
    {"nothing mounted", nullptr, false, false, false, true, "none", kNo, kNo, kNo, kNo},
};

class Machine {
 public:
  explicit Machine(const Shape& shape) {
    if (shape.unified != nullptr) {
      tree_.Dir("unified");
      tree_.File("unified/cgroup.controllers", shape.unified);
      tree_.File("unified/cgroup.subtree_control", "");
      tree_.File("unified/memory.pressure", "some avg10=0.00\n");
      // Without the file that a process is moved by, as with one that refuses writing: root may
      // write to any file that is there.
      if (shape.writable) tree_.File("unified/cgroup.procs", "1\n");
      layout_.unified = At("unified");
    }
    if (shape.cpu_v1) layout_.cpu = V1("cpu");
    if (shape.memory_v1) layout_.memory = V1("memory");
    if (shape.pids_v1) layout_.pids = V1("pids");
  }
  Places places() const { return FindPlaces(layout_); }
  const TestTree& tree() const { return tree_; }

 private:
  Position At(const std::string& name) const { return {tree_.path(name), tree_.path(name), "/"}; }
  Position V1(const std::string& name) {
    tree_.Dir(name);
    tree_.File(name + "/cgroup.procs", "1\n");
    return At(name);
  }

  TestTree tree_;
  Layout layout_;
};

TEST(Shapes, AreGradedByWhatIsThere) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(shape.what);
    const Machine machine(shape);
    CgroupHost host(machine.places());
    const Capabilities seen = host.Look();
    EXPECT_EQ(seen.layout, shape.layout);
    EXPECT_EQ(seen.cpu.grade, shape.cpu) << seen.cpu.how;
    EXPECT_EQ(seen.memory.grade, shape.memory) << seen.memory.how;
    EXPECT_EQ(seen.memory_usage.grade, shape.memory);
    EXPECT_EQ(seen.pids.grade, shape.pids) << seen.pids.how;
    EXPECT_EQ(seen.freeze.grade, shape.freeze) << seen.freeze.how;
    EXPECT_EQ(seen.kill.grade, shape.freeze);
    for (const auto* info : {&seen.cpu, &seen.memory, &seen.pids, &seen.freeze}) {
      EXPECT_FALSE(info->how.empty());
    }
  }
}

// Files do not become control groups when a directory is made among them, so none can be made here
// at all; what counts is that nothing is promised by mistake, and nothing is left.
TEST(Shapes, NothingIsHeldInSilence) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(shape.what);
    const Machine machine(shape);
    CgroupHost host(machine.places());
    KernelLimits limits;
    limits.cpu_nanocores = 500'000'000;
    limits.memory_max = 64 << 20;
    const auto made = host.Create("agent", limits);
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, ErrorCode::kSystem) << made.error().ToString();
    for (const char* dir : {"unified", "cpu", "memory", "pids"}) {
      EXPECT_FALSE(machine.tree().Has(std::string(dir) + "/mete")) << dir;
    }
    const Capabilities probed = host.Probe();
    for (const auto* info :
         {&probed.cpu, &probed.memory, &probed.pids, &probed.freeze, &probed.kill}) {
      EXPECT_EQ(info->grade, Grade::kAbsent) << "a probe that believes what it sees: " << info->how;
    }
  }
}

TEST(Shapes, WithoutPressureItIsAbsentWithItsReason) {
  const Machine machine(kShapes[0]);
  const UniqueFd unified(
      open(machine.tree().path("unified").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  EXPECT_EQ(PressureGrade(unified.get()).grade, Grade::kKernel);
  unlink(machine.tree().path("unified/memory.pressure").c_str());
  const agent::GradeInfo without = PressureGrade(unified.get());
  EXPECT_EQ(without.grade, Grade::kAbsent);
  EXPECT_NE(without.how.find("memory.pressure"), std::string::npos);
}

TEST(Shapes, WithoutControlGroupsTheProcessesAreHeldAndTheReasonIsTold) {
  for (const Shape& shape : kShapes) {
    SCOPED_TRACE(shape.what);
    const Machine machine(shape);
    const Places places = machine.places();
    EXPECT_EQ(places.missing.empty(), shape.freeze == Grade::kKernel);
    if (places.missing.empty()) continue;
    ProcessTreeHost host(machine.tree().path(""), places.missing);
    const Capabilities seen = host.Look();
    EXPECT_EQ(seen.layout, "processes");
    EXPECT_EQ(seen.cpu.grade, Grade::kSampled);
    EXPECT_EQ(seen.memory.grade, Grade::kSampled);
    EXPECT_NE(seen.pids.grade, Grade::kKernel);
    for (const auto* info : {&seen.cpu, &seen.memory, &seen.freeze}) {
      EXPECT_FALSE(info->overshoot.empty()) << info->how << ": how far, at worst?";
    }
    ASSERT_FALSE(seen.notes.empty());
    EXPECT_NE(seen.notes[0].find(places.missing), std::string::npos);
  }
}

// What a small machine of its own shape holds is tried with programs, as on any other.
TEST(Shapes, TreesOfProcessesHoldWhatTheyPromise) {
  TestTree folder;
  folder.Dir("run");
  ProcessTreeHost host(folder.path("run"), "a test says so");
  const Capabilities seen = host.Look(), probed = host.Probe();
  for (auto info : {&Capabilities::cpu, &Capabilities::memory, &Capabilities::freeze,
                    &Capabilities::kill, &Capabilities::cpu_usage}) {
    EXPECT_EQ((probed.*info).grade, (seen.*info).grade) << (probed.*info).how;
  }
  EXPECT_NE(probed.cpu.how, seen.cpu.how) << "it does not say what was tried";
  EXPECT_EQ(probed.clone.grade, Grade::kAbsent);
  EXPECT_FALSE(folder.Has("run/groups")) << "a probe left something behind";
}

}  // namespace
}  // namespace mete::cgroup
