/* Counts words: runs of characters between blanks. */
#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>

size_t count_words(const char *text);

#endif
