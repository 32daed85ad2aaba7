/* A library to preload: nothing is synced. For what need not outlive its machine. */
int fsync(int file)
{
    return 0;
}

int fdatasync(int file)
{
    return 0;
}
