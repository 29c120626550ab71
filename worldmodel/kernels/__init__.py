"""The arithmetic of the model compiled for the CPU: features first, 32 rows in the lanes (docs/shapes.md)."""

from worldmodel.kernels.supported import has_kernels
from worldmodel.model.agent import Agent
from worldmodel.model.control.agent import ControlAgent


def for_agent(agent: Agent, threads: int = 1) -> Agent:
    """Give an agent the compiled loops that take its parts and sizes: in float32 on the CPU they replace operators.

    Asked once, by who has made the agent; it is returned. Its tensors may be moved and cast afterwards. threads: among
    which rollouts share their rows; at least those of PyTorch's operators.
    """
    if has_kernels(agent):
        from worldmodel.kernels.compiled_agent import CompiledAgent  # with a compiler, which takes its time to start
        from worldmodel.kernels.rssm_sequence import LOOPS

        agent.kernels, agent.world_model.rssm.loops = CompiledAgent(agent, threads), LOOPS
    elif isinstance(agent, ControlAgent):
        from worldmodel.kernels.fused_layers import norm_silu

        for module in agent.modules():
            if hasattr(module, "passes"):
                module.passes = norm_silu
    return agent
