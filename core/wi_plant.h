/* Bugs on purpose, for the tests of the simulation: in a library of their own, and nowhere else. */
#ifndef WI_PLANT_H
#define WI_PLANT_H

#ifdef WEIR_PLANTED
extern unsigned weir_planted;
#define WI_PLANT(bug) (weir_planted == (bug))
#else
#define WI_PLANT(bug) 0
#endif

#endif
