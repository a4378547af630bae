"""docs/seed-coverage.md has every heading and every row of the tables of the seed's description.

That the tests it names exist, scripts/check.py sees; that they ran, scripts/run_tests.py.
"""

import unittest

from support import source_folder

HEADINGS = """
Overview
Role in Development Environment
Data Model
EnforcementMode Enum
QuotaAction Enum
QuotaScope Enum
ResourceQuota Dataclass
QuotaUsage Dataclass
ResourceUsage Dataclass
Configuration
API Methods
Use Cases in Your Workflow
1. Initialize Resource Manager
2. Create Quota for Agent
3. Report Resource Usage
4. Check Usage
5. Check Quota
6. Update Quota Limits
7. Reset Quota
8. Cleanup Agent Quota
Service Interactions
Enforcement Flow
Enforcement Actions
Resource Parsing
Error Codes
Execution Examples
Implementation Status
Remaining Work
Strengths
Weaknesses
Best Practices
Token Budget Planning
Enforcement Mode Selection
Memory Tracking
Token Tracking
Source Files
Related Services
"""

# Of the tables, in their order; then of the lists of strengths and weaknesses, and the services.
ROWS = """
`default_limits.cpu`
`default_limits.memory`
`default_limits.tokens_per_hour`
`enforcement.cpu`
`enforcement.memory`
`enforcement.tokens`
`token_budget_action`
`usage_report_interval_seconds`
`initialize()`
`create_quota(agent_id, limits)`
`get_quota(agent_id)`
`update_quota(agent_id, limits)`
`report_usage(agent_id, cpu, memory, tokens)`
`get_usage(agent_id)`
`reset_quota(agent_id)`
`cleanup_quota(agent_id)`
`cleanup()`
CPU
Memory
Tokens
E2070
E2073
Initialize
Create Quota
Get Quota
Update Quota
Report Usage
Get Usage
Reset Quota
Cleanup Quota
Violation Detection
Enforcement Modes
Background Reporting
Resource Parsing
LifecycleManager Integration
Tenant Quotas
Session Quotas
Redis Events
Prometheus Metrics
Rate Limiting
Flexible enforcement
Kubernetes-style parsing
Hourly token budgets
Background reporting
Per-agent tracking
Stub enforcement
No persistence
No aggregation
No Redis events
CPU as seconds
LifecycleManager
AgentExecutor
FleetManager
MetricsEngine
"""


class SeedCoverage(unittest.TestCase):
    def setUp(self):
        text = (source_folder() / "docs" / "seed-coverage.md").read_text()
        self.text = text[text.index("# What the description of the ResourceManager"):]

    def part(self, heading):
        """The first cells of the table under a heading."""
        part = self.text[self.text.index(f"\n## {heading}\n"):].split("\n## ")[1]
        return [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("| ")]

    def test_every_heading_is_there(self):
        self.assertEqual(self.part("Headings")[2:], HEADINGS.split("\n")[1:-1])

    def test_every_row_is_there(self):
        there = self.part("Its tables")[2:]
        asked = ROWS.split("\n")[1:-1]
        self.assertGreater(len(asked), 40)
        for row in asked:
            self.assertTrue(row in there or row in self.part("Headings"), row)
        for row in there:
            self.assertIn(row, asked)


if __name__ == "__main__":
    unittest.main()
