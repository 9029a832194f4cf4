/** What checks make of what they read. */
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { certificatesFinding } from '../../src/doctor/network.js';
import { isNetwork, mountOf } from '../../src/doctor/disk.js';
import { memoryFinding } from '../../src/doctor/machine.js';
import { nodeFinding } from '../../src/doctor/programs.js';
import { temporaryDirectory } from '../helpers/store.js';
import { selfSigned } from '../transfer/certificate.js';

describe('the version of Node.js', () => {
  it.each([
    ['v20.17.0', 'ok'],
    ['v22.1.0', 'ok'],
    ['v24.0.0', 'ok'],
    ['v20.16.0', 'failed'],
    ['v18.20.0', 'failed'],
    ['v23.5.0', 'warning'],
  ])('%s: %s', (version, status) => {
    const finding = nodeFinding(version);
    expect(finding.status).toBe(status);
    expect(finding.fix === undefined).toBe(status === 'ok');
  });
});

describe('memory', () => {
  const GiB = 1024 ** 3;
  it.each([
    [
      { nowBytes: 8 * GiB, mostBytes: 16 * GiB, limit: 'this machine' },
      'ok',
      '8.0 GiB of memory free, at most 16.0 GiB by this machine',
    ],
    [
      { nowBytes: GiB / 2, mostBytes: GiB, limit: 'the control group /job' },
      'warning',
      'by the control group /job: too little for most conversions',
    ],
    [{ nowBytes: GiB, mostBytes: 16 * GiB, limit: 'this machine' }, 'warning', 'may be slow'],
    [{ nowBytes: 4 * GiB, limit: 'this machine' }, 'ok', '4.0 GiB of memory free'],
  ])('%j: %s', (memory, status, message) => {
    expect(memoryFinding(memory)).toMatchObject({
      status,
      message: expect.stringContaining(message) as string,
    });
  });
});

describe('a file of certificates', () => {
  const DAY = 86_400_000;
  let present: string;
  let expired: string;
  beforeAll(async () => {
    present = (await selfSigned('DNS:present.example', 2)).cert;
    expired = (await selfSigned('DNS:expired.example', -1)).cert;
  });
  const look = (text: string, now = Date.now()): ReturnType<typeof certificatesFinding> =>
    certificatesFinding('/ca.pem', '`caFile`', text, now);

  it('with what is good', () => {
    expect(look(`# ours\n${present}`)).toMatchObject({ status: 'ok', facts: { certificates: 1 } });
  });

  it('with one of two that has expired, and with none that is left', () => {
    expect(look(present + expired)).toMatchObject({
      status: 'warning',
      facts: { certificates: 2, expired: 1 },
    });
    expect(look(expired)).toMatchObject({ status: 'failed' });
    expect(look(present, Date.now() + 3 * DAY)).toMatchObject({ status: 'failed' });
  });

  it('with one of a system’s list that has expired', () => {
    expect(look(present.repeat(60) + expired)).toMatchObject({ status: 'ok', facts: { certificates: 61 } });
  });

  it('with one that is not valid yet, which is a matter of the clock', () => {
    const finding = look(present, Date.now() - 3 * DAY);
    expect([finding.status, finding.fix]).toEqual(['failed', 'look at the clock of this machine']);
  });

  it.each([
    ['', 'holds no certificate in PEM form'],
    ['\u0030\u0082', 'holds no certificate in PEM form'],
    [
      '-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----',
      'holds a certificate that cannot be read',
    ],
  ])('with what is none: %j', (text, message) => {
    expect(look(text)).toMatchObject({
      status: 'failed',
      message: expect.stringContaining(message) as string,
    });
  });
});

describe('the mount of a path', () => {
  const INFO = [
    '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard',
    '30 22 0:40 / /srv rw,nosuid - nfs4 server:/srv rw,vers=4.2',
    '31 30 0:41 / /srv/with\\040space rw,noexec - tmpfs tmpfs rw',
    '32 22 0:42 / /srv-other ro - fuse.sshfs host: rw',
    '33 22 0:43 / /twice rw - tmpfs tmpfs rw',
    '34 33 0:44 / /twice rw - xfs /dev/vdb rw',
  ].join('\n');

  it.each([
    ['/home/me', 'ext4', false],
    ['/srv/models', 'nfs4', true],
    ['/srv', 'nfs4', true],
    ['/srv/with space/x', 'tmpfs', false],
    ['/srv-other/x', 'fuse.sshfs', true],
    ['/srv-others', 'ext4', false],
    ['/twice/x', 'xfs', false],
  ])('%s: %s', async (path, type, network) => {
    const mount = await mountOf(path, INFO);
    expect(mount?.type).toBe(type);
    expect(mount === undefined ? undefined : isNetwork(mount)).toBe(network);
  });

  it('with its options, where links lead', async () => {
    const directory = await temporaryDirectory();
    await symlink('/srv/with space', join(directory, 'link'));
    expect((await mountOf('/srv/with space', INFO))?.options).toContain('noexec');
    expect(await mountOf('/x', '')).toBeUndefined();
  });
});
