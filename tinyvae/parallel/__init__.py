"""Several processes that train one model: how they are joined, and what they tell each other.

Every process, or *rank*, holds the whole model and all the images, takes the same batch, works on
its share of the rows, and adds its gradient to the others' in one all-reduce a step. So all of
them take the same step, and the run is that of one process but for round-off.
"""

from tinyvae.parallel.communicator import Alone as Alone
from tinyvae.parallel.communicator import Communicator as Communicator
from tinyvae.parallel.communicator import joined as joined
