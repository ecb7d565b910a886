from __future__ import annotations

from proxy.demo.plan import FIRST_PORT, PORT_SPAN, make_plan


def test_the_edge_listens_where_the_documentation_says() -> None:
    plan = make_plan()
    assert (plan.edge.name, plan.edge.port, plan.edge.admin_port) == ("edge", 8000, 8001)
    assert [proxy.name for proxy in plan.proxies] == ["edge", "service1", "service2"]
    assert [replica.name for replica in plan.replicas if replica.service == 2] == [
        "service2 replica 1",
        "service2 replica 2",
        "service2 replica 3",
    ]


def test_another_first_port_moves_every_port_and_no_two_meet() -> None:
    usual, moved = make_plan(), make_plan(18000)
    assert {port + 10000: user for port, user in usual.bound().items()} == moved.bound()
    assert len(moved.bound()) == 2 * len(moved.proxies) + len(moved.replicas)


def test_all_ports_lie_within_the_announced_span() -> None:
    ports = make_plan().bound()
    assert min(ports) == FIRST_PORT
    assert max(ports) == FIRST_PORT + PORT_SPAN


def test_the_edge_sends_to_the_sidecars() -> None:
    plan = make_plan(18000)
    clusters = plan.edge.config["static_resources"]["clusters"]
    targets = [
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        for cluster in clusters
    ]
    assert [target["port_value"] for target in targets] == [proxy.port for proxy in plan.proxies[1:]]
