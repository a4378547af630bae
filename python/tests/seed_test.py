"""The seed's own examples run, with only their imports changed."""

import ast
import contextlib
import importlib.util
import inspect
import io
import os
import pathlib
import re
import subprocess
import sys
import types
import unittest

import mete
from support import source_folder

EXAMPLES = pathlib.Path(__file__).with_name("seed_examples.md").read_text()


def example(title):
    match = re.search(rf"^## {re.escape(title)}\n\n```python\n(.*?)^```", EXAMPLES,
                      re.MULTILINE | re.DOTALL)
    return match[1]


async def run(text, names):
    """Runs a block that may await at its top; returns what it printed."""
    code = compile(text, "seed", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = eval(code, names)  # the repository's own text
        if inspect.isawaitable(result):
            await result
    return printed.getvalue()


class SeedExamples(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.names = {}
        await run(example("1. Initialize Resource Manager"), self.names)
        self.manager = self.names["resource_mgr"]
        self.addAsyncCleanup(self.manager.cleanup)

    async def with_agent(self):
        return await run(example("2. Create Quota for Agent"), self.names)

    async def test_initialize(self):
        self.assertIsInstance(self.manager, mete.ResourceManager)

    async def test_create_quota(self):
        printed = await self.with_agent()
        self.assertIn("Quota created for agent-001\n", printed)
        self.assertIn("Limits: {'cpu': '4', 'memory': '8Gi', 'tokens_per_hour': 200000}", printed)
        self.assertEqual(self.names["quota"].target_id, "agent-002")
        self.assertEqual(self.names["quota"].limits,
                         {"cpu": "2", "memory": "2Gi", "tokens_per_hour": 100000})

    async def test_report_and_check_usage(self):
        await self.with_agent()
        await run(example("3. Report Resource Usage"), self.names)
        printed = await run(example("4. Check Usage"), self.names)
        self.assertEqual(printed, "CPU: 7.50 seconds\nMemory: 2048.00 MB (peak)\nTokens: 2000\n")

    async def test_check_quota(self):
        await self.with_agent()
        await run(example("3. Report Resource Usage"), self.names)
        printed = await run(example("5. Check Quota"), self.names)
        self.assertTrue(printed.startswith(
            "Limits:\n  CPU: 4\n  Memory: 8Gi\n  Tokens/hour: 200000\nCurrent Usage:\n"
            "  CPU: 7.50s\n  Memory: 2048.00MB\n  Tokens: 2000\nResets at: "), printed)

    async def test_update_limits(self):
        await self.with_agent()
        printed = await run(example("6. Update Quota Limits"), self.names)
        self.assertEqual(printed, "Updated limits: {'cpu': '8', 'memory': '16Gi', "
                                  "'tokens_per_hour': 500000}\n")

    async def test_reset(self):
        await self.with_agent()
        await run(example("3. Report Resource Usage"), self.names)
        before = await self.manager.get_quota("agent-001")
        await run(example("7. Reset Quota"), self.names)
        after = await self.manager.get_quota("agent-001")
        self.assertEqual((after.usage.cpu_seconds, after.usage.tokens_consumed), (0, 0))
        self.assertGreaterEqual(after.reset_at, before.reset_at)

    async def test_cleanup_quota(self):
        await self.with_agent()
        await run(example("8. Cleanup Agent Quota"), self.names)
        with self.assertRaises(mete.ResourceError) as refused:
            await self.manager.get_quota("agent-001")
        self.assertEqual(refused.exception.code, "E2070")

    async def test_resource_parsing(self):
        rows = re.findall(r'^"(.+?)"\s+→ ([\d.]+) (cores|MB)$', example("Resource Parsing"),
                          re.MULTILINE)
        self.assertEqual(len(rows), 7)
        for text, number, unit in rows:
            parse = mete.parse_cpu if unit == "cores" else mete.parse_memory_mb
            self.assertEqual(parse(text), float(number), text)

    async def test_complete_workflow(self):
        readers = []

        class Followed(mete.ResourceManager):
            def __init__(self, config):
                super().__init__(config)
                readers.append(self.events())

        printed = await run(example("Execution Examples"), {"ResourceManager": Followed})
        self.assertEqual(printed, "Total CPU: 5.0s\nPeak Memory: 1412.0MB\nTokens Used: 10000\n")
        happened = {event.kind.value for event in readers[0].take()}
        self.assertEqual(happened - {"usage"}, {"created", "reset", "removed"})

    async def test_token_budget_planning(self):
        text = example("Token Budget Planning")
        limits = [eval(line, {"ResourceLimits": mete.ResourceLimits})
                  for line in text.splitlines() if line.startswith("ResourceLimits")]
        self.assertEqual([limit.tokens_per_hour for limit in limits], [50000, 100000, 250000])
        for number, limit in enumerate(limits):
            quota = await self.manager.create_quota(f"planned-{number}", limit)
            self.assertEqual(quota.limits["tokens_per_hour"], limit.tokens_per_hour)

    async def test_enforcement_mode_selection(self):
        made = []

        class Kept(mete.ResourceManager):
            def __init__(self, *arguments, **named):
                super().__init__(*arguments, **named)
                made.append(self)

        await run(example("Enforcement Mode Selection"), {"ResourceManager": Kept})
        strict, lenient = [(await manager.create_quota("a")).policy for manager in made]
        self.assertEqual({strict[name].mode for name in ("cpu", "memory", "tokens")},
                         {mete.EnforcementMode.HARD})
        self.assertEqual([lenient[name].mode.value for name in ("cpu", "memory", "tokens")],
                         ["warn_only", "warn_only", "soft_then_hard"])

    async def test_memory_tracking(self):
        if importlib.util.find_spec("psutil") is None:
            sys.path.append(os.environ.get("METE_PYTHON_PACKAGES", ""))
        if importlib.util.find_spec("psutil") is None:
            self.skipTest("psutil is not here (scripts/setup python)")
        await self.with_agent()
        await run(example("Memory Tracking"), self.names | {"agent_id": "agent-001"})
        usage = await self.manager.get_usage("agent-001")
        self.assertGreater(usage.memory_peak_mb, 1)

    async def test_token_tracking(self):
        async def generate(prompt):
            return types.SimpleNamespace(usage=types.SimpleNamespace(total_tokens=len(prompt)))

        await self.with_agent()
        await run(example("Token Tracking"), self.names | {
            "llm": types.SimpleNamespace(generate=generate), "prompt": "x" * 77,
            "agent_id": "agent-001"})
        self.assertEqual((await self.manager.get_usage("agent-001")).tokens_consumed, 77)


class SeedProgram(unittest.TestCase):
    def test_ends_with_its_figures_and_no_suspension(self):
        done = subprocess.run([sys.executable, source_folder() / "examples" / "seed_workflow.py"],
                              capture_output=True, text=True, timeout=120)
        self.assertEqual((done.returncode, done.stderr), (0, ""))  # a suspension would be logged
        self.assertEqual(done.stdout, "Total CPU: 5.0s\nPeak Memory: 1412.0MB\n"
                                      "Tokens Used: 10000\n")

    def test_is_the_seeds_text(self):
        program = (source_folder() / "examples" / "seed_workflow.py").read_text()
        body = program[program.index("async def main():\n"):program.index("\n\nasyncio.run(")]
        lines = [line.strip() for line in body.splitlines()[1:]]
        self.assertEqual("\n".join(lines).strip(), "\n".join(
            line.strip() for line in example("Execution Examples").splitlines()).strip())

    def test_only_imports_of_mete(self):
        imports = re.findall(r"^(?:from|import) .*$", EXAMPLES, re.MULTILINE)
        self.assertEqual(set(imports), {"from mete import ResourceManager",
                                        "from mete import ResourceLimits", "import psutil"})


class SeedData(unittest.TestCase):
    def test_enforcement_modes(self):
        self.assertEqual([(mode.name, mode.value) for mode in mete.EnforcementMode],
                         [("HARD", "hard"), ("SOFT_THEN_HARD", "soft_then_hard"),
                          ("WARN_ONLY", "warn_only")])

    def test_actions(self):
        self.assertEqual([(action.name, action.value) for action in mete.QuotaAction],
                         [("WARN", "warn"), ("THROTTLE", "throttle"), ("SUSPEND", "suspend"),
                          ("TERMINATE", "terminate")])

    def test_scopes(self):
        self.assertEqual([(scope.name, scope.value) for scope in mete.QuotaScope],
                         [("AGENT", "agent"), ("SESSION", "session"), ("TENANT", "tenant")])

    def test_fields_of_a_quota(self):
        quota = mete.sync.ResourceManager().create_quota("a")
        self.assertIs(quota.scope, mete.QuotaScope.AGENT)
        self.assertEqual(quota.target_id, "a")
        self.assertIsInstance(quota.limits, dict)
        self.assertIsInstance(quota.usage, mete.QuotaUsage)
        self.assertEqual(quota.reset_at.utcoffset().total_seconds(), 0)

    def test_fields_of_usage(self):
        for kind in (mete.QuotaUsage, mete.ResourceUsage):
            usage = kind(1.5, 2.5, 3)
            self.assertEqual((usage.cpu_seconds, usage.memory_peak_mb, usage.tokens_consumed),
                             (1.5, 2.5, 3))

    def test_defaults_of_the_configuration(self):
        quota = mete.sync.ResourceManager().create_quota("a")
        self.assertEqual(quota.limits, {"cpu": "2", "memory": "2Gi", "tokens_per_hour": 100000})
        self.assertEqual({name: (policy.mode.value, policy.action.value)
                          for name, policy in quota.policy.items()
                          if name in ("cpu", "memory", "tokens")},
                         {"cpu": ("hard", "suspend"), "memory": ("hard", "suspend"),
                          "tokens": ("soft_then_hard", "suspend")})

    def test_every_method_is_there(self):
        for name in ("initialize", "create_quota", "get_quota", "update_quota", "report_usage",
                     "get_usage", "reset_quota", "cleanup_quota", "cleanup"):
            self.assertTrue(callable(getattr(mete.ResourceManager, name)), name)
            self.assertTrue(callable(getattr(mete.sync.ResourceManager, name)), name)


if __name__ == "__main__":
    unittest.main()
