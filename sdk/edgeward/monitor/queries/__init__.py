"""Reading: what REST, /metrics and the dashboard show.

shapes      the answers, as frozen dataclasses
counting    exact sums and merged histograms over many rows
conditions  how a device is, judged in SQL
devices, models, logs    what is asked for
"""

from edgeward.monitor.queries.devices import SORTS as SORTS
from edgeward.monitor.queries.devices import Sort as Sort
from edgeward.monitor.queries.devices import Wanted as Wanted
from edgeward.monitor.queries.devices import count as count
from edgeward.monitor.queries.devices import device as device
from edgeward.monitor.queries.devices import devices as devices
from edgeward.monitor.queries.devices import overview as overview
from edgeward.monitor.queries.logs import dropped as dropped
from edgeward.monitor.queries.logs import logs as logs
from edgeward.monitor.queries.models import device_releases as device_releases
from edgeward.monitor.queries.models import fleet_model as fleet_model
from edgeward.monitor.queries.models import model_bins as model_bins
from edgeward.monitor.queries.models import model_totals as model_totals
from edgeward.monitor.queries.models import models as models
from edgeward.monitor.queries.models import release_totals as release_totals
from edgeward.monitor.queries.shapes import CONDITIONS as CONDITIONS
from edgeward.monitor.queries.shapes import Condition as Condition
from edgeward.monitor.queries.shapes import Device as Device
from edgeward.monitor.queries.shapes import FleetModel as FleetModel
from edgeward.monitor.queries.shapes import ModelOnDevice as ModelOnDevice
