"""REST: what the dashboard shows, for scripts; `/openapi.json` describes it.

app        the application
problems   every error, in one shape
paging     pages of long answers
windows    of series over time
remembered an answer that many ask for, made once
fleet, devices, models, alerts, requests, access    the routes
"""

from edgeward.monitor.api.app import make_app as make_app
