"""TensorBoard of a comparison: interquartile means with their bands, and a layout that shows arms side by side."""

from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from worldmodel.compare.analysis import band
from worldmodel.compare.plan import Plan
from worldmodel.compare.results import Results, curves
from worldmodel.runs.atomic_file import atomic_file

PLUGIN, TAG = "custom_scalars", "custom_scalars__config__"
BANDS = ("iqm", "low", "high")
FILE = "events.out.tfevents.0.compare"  # one name: every report writes it anew


def write_layout(folder: Path, plan: Plan, results: Results) -> None:
    """Write an event file: of each environment and arm `compare/ENVIRONMENT/ARM/iqm`, `low` and `high`, and the layout.

    The runs themselves, in the folders beside it, all have the same tags.
    """
    with atomic_file(folder / FILE) as file:
        writer = RecordWriter(file)

        def write(step: int, summary: Summary) -> None:
            writer.write(Event(wall_time=0.0, step=step, summary=summary).SerializeToString())

        writer.write(Event(wall_time=0.0, file_version="brain.Event:2").SerializeToString())
        write(0, _layout(plan))
        for task in plan.tasks:
            for arm in plan.arms:
                steps, rows = curves(plan, task, arm, results)
                if not rows or not steps:
                    continue
                for step, values in zip(steps, band(np.array(rows, np.float64)).T, strict=True):
                    tags = [f"compare/{task}/{arm}/{name}" for name in BANDS]
                    both = zip(tags, values.tolist(), strict=True)
                    write(step, Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in both]))


def _layout(plan: Plan) -> Summary:
    """A category for each environment, with the bands of its arms, and one for the runs."""
    categories = [
        layout_pb2.Category(
            title=task,
            chart=[
                layout_pb2.Chart(
                    title=arm,
                    margin=layout_pb2.MarginChartContent(
                        series=[
                            layout_pb2.MarginChartContent.Series(
                                value=f"compare/{task}/{arm}/iqm",
                                lower=f"compare/{task}/{arm}/low",
                                upper=f"compare/{task}/{arm}/high",
                            )
                        ]
                    ),
                )
                for arm in plan.arms
            ],
        )
        for task in plan.tasks
    ]
    runs = [("evaluations", "eval/return$"), ("episodes", "episode/return$"), ("model loss", "loss/.*")]
    charts = [
        layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[tag])) for title, tag in runs
    ]
    content = layout_pb2.Layout(category=[*categories, layout_pb2.Category(title="runs", chart=charts)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[content.SerializeToString()], tensor_shape=TensorShapeProto())
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=PLUGIN))
    return Summary(value=[Summary.Value(tag=TAG, tensor=tensor, metadata=metadata)])
